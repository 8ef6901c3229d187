.macro a(%x)
l: bne %x, $0, l
.end_macro
.macro b(%x,%y)
a(%x)
a(%y)
.end_macro
b($t0, $t1)
