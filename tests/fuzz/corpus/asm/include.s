.include "again"
li X, N
