1: b 1b
   b 1f
.macro m(%x)
1: b %x
   b 1b
.end_macro
.eqv E 1f
1: m(1b)
   m(2f)
2: 3: b E
1: .word 1b, 0b1, 0x1f
