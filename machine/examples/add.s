# 6 + 7, and 6 shifted left by 2.
li $1,6
li $2,7
add $3,$1,$2
sll $4,$1,2
DUMP_PROCESSOR_STATE
