# cmake -D IN=compiled.s -D OUT=for_spim.s -P for_spim.cmake
#
# SPIM's assembler knows neither the directives that describe sections and symbols nor labels
# with a dollar sign. The instructions stay as the compiler wrote them.
file(READ ${IN} text)
string(REGEX REPLACE "[\t ]+#[^\n]*" "" text "${text}")
string(REGEX REPLACE "\n#[^\n]*" "" text "${text}")
# The few sections of a program without a library are code, and data that may be read.
string(REGEX REPLACE "\n[\t ]+[.]section[\t ]+[.](rodata|data)[^\n]*" "\n\t.data" text "${text}")
string(REGEX REPLACE "\n[\t ]+[.]section[\t ]+[.]text[^\n]*" "\n\t.text" text "${text}")
string(REGEX REPLACE "\n[\t ]+[.]rdata[^\n]*" "\n\t.data" text "${text}")
set(unknown "file|section|previous|nan|module|set|ent|end|type|size|frame|mask|fmask|ident|local")
string(REGEX REPLACE "\n[\t ]+[.](${unknown})[\t ]*[^\n]*" "" text "\n${text}")
string(REGEX REPLACE "[$]L([A-Z]*[0-9]+)" "L\\1" text "${text}")
file(WRITE ${OUT} "${text}")
