/* A sandbox that is moved from thread to thread; see support_migrate.h. */
#include "support_migrate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- moving ---- */

static int accept_all(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                      struct mf_sandbox_options *options, struct mf_error *err)
{
    struct move *move = context;
    (void)offer;
    (void)err;
    options->backend = move->backend;
    if (move->make_host)
        *host = move->make_host();
    return 0;
}

static void *receive(void *argument)
{
    struct move *move = argument;
    struct mf_channel channel;
    mf_channel_from_fds(&channel, &move->in_fds);
    move->in_rc = mf_migrate_in(&channel, &move->in, &move->received, &move->in_err);
    return NULL;
}

void move_sandbox(struct mf_sandbox *sandbox, struct move *move)
{
    struct mf_channel channel;
    pthread_t thread;
    int pair[2] = {-1, -1};
    if (!move->fds_given) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            return;
        move->out_fds = (struct mf_channel_fds){pair[0], pair[0]};
        move->in_fds = (struct mf_channel_fds){pair[1], pair[1]};
    }
    move->out.size = sizeof move->out;
    move->in.size = sizeof move->in;
    if (!move->in.accept) {
        move->in.accept = accept_all;
        move->in.context = move;
    }
    move->summary.size = sizeof move->summary;
    move->received = NULL;
    pthread_create(&thread, NULL, receive, move);
    mf_channel_from_fds(&channel, &move->out_fds);
    move->out_rc = mf_migrate_out(sandbox, &channel, &move->out, &move->outcome, &move->summary,
                                  &move->out_err);
    if (!move->fds_given)
        shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    if (move->received)
        mf_migrate_wait(move->received, UINT64_C(30000000000), NULL);
    if (!move->fds_given) {
        close(pair[0]);
        close(pair[1]);
    }
}

/* ---- places ---- */

struct call {
    struct place *place;
    const char *function;
    uint64_t args[4];
    size_t nargs;
};

static void *run_call(void *argument)
{
    struct call call = *(struct call *)argument;
    struct place *place = call.place;
    struct mf_value args[4], result = {0};
    for (size_t i = 0; i < call.nargs; i++)
        args[i] = mf_u64(call.args[i]);
    place->rc = mf_sandbox_call(place->sandbox, call.function, args, call.nargs, &result,
                                &place->err);
    place->result = result.u64;
    free(argument);
    return NULL;
}

void place_call(struct place *place, const char *function, const uint64_t *args, size_t nargs)
{
    struct call *call = malloc(sizeof *call);
    *call = (struct call){.place = place, .function = function, .nargs = nargs};
    memcpy(call->args, args, nargs * sizeof *args);
    pthread_create(&place->thread, NULL, run_call, call);
}

static void *run_resume(void *argument)
{
    struct place *place = argument;
    struct mf_value result = {0};
    place->rc = mf_sandbox_resume(place->sandbox, &result, &place->status, &place->err);
    place->result = result.u64;
    return NULL;
}

void place_resume(struct place *place)
{
    pthread_create(&place->thread, NULL, run_resume, place);
}

void place_join(struct place *place)
{
    pthread_join(place->thread, NULL);
}
