# The simple dialect: one instruction per line, no labels, no directives.
li $1,6
li $7,7
add $4,$7,$1
sub $5,$7,$1
addi $6,$3,15
mul $8,$4,$7
li $10,100000
or $11,$4,100
sll $12,$7,10
DUMP_PROCESSOR_STATE
