#include "migrate/in.h"
#include "base/error.h"
bool in_post_possible(void) { return false; }
int in_post_prepare(struct in *in) { return error_set(in->err, MF_E_STATE, "no post-copy"); }
int in_post_start(struct in *in) { return error_set(in->err, MF_E_STATE, "no post-copy"); }
