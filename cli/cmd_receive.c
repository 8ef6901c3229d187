/*
 * mayfly receive: waits for sandboxes that move here (mayfly migrate), and runs them. Ends on a
 * signal, after those that run were stopped.
 */
#include "cli.h"
#include "interrupt.h"
#include "receive_session.h"
#include "report.h"
#include "text.h"
#include "transport.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOST_DEFAULT 4

static void say_refused(void *context, const char *peer, const struct mf_error *err)
{
    (void)context;
    fprintf(stderr, "mayfly receive: ");
    text_print_line_safe(stderr, peer);
    fprintf(stderr, " was not let in: ");
    text_print_line_safe(stderr, err->message);
    fputc('\n', stderr);
}

static void say_listening(const struct cli_options *options,
                          const struct transport_listener *listener)
{
    const char *address = transport_listener_address(listener);

    if (options->json) {
        json_t *event = json_pack("{s:s, s:s}", "event", "listening", "address", address);
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(event);
    } else {
        fprintf(stderr, "mayfly receive: listening on %s\n", address);
    }
    fflush(stdout);
}

/* Until a signal comes. */
static int serve(struct receiver *receiver, struct transport_listener *listener,
                 struct mf_error *err)
{
    int status = MF_OK;

    while (status == MF_OK) {
        struct transport_connection *connection = NULL;
        status = transport_accept(listener, -1, interrupt_fd(), &connection, err);
        if (status == MF_OK)
            receiver_serve(receiver, connection);
    }
    return status == MF_E_CANCELLED ? MF_OK : status;
}

static int receive(const struct cli_options *options, struct mf_error *err)
{
    struct transport_options transport = {
        .cert_file = options->cert,
        .key_file = options->key,
        .ca_file = options->ca,
        .psk_file = options->psk_file,
        .insecure = options->insecure,
        .refused = say_refused,
    };
    struct transport_listener *listener = NULL;
    struct transport_address address;
    struct receiver receiver;
    int status = transport_address_parse(options->listen, &address, err);

    if (status == MF_OK)
        status = interrupt_init(err);
    if (status == MF_OK)
        status = transport_listen(&address, &transport, &listener, err);
    if (status != MF_OK)
        return status;
    status = receiver_init(&receiver, options, err);
    if (status == MF_OK) {
        say_listening(options, listener);
        status = serve(&receiver, listener, err);
    }
    transport_listener_close(listener);
    receiver_fini(&receiver);
    return status;
}

int cmd_receive(int argc, char **argv)
{
    struct cli_options options;
    struct mf_error err;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.listen == NULL)
        status = cli_usage_error("receive", options.json,
                                 "--listen ADDR is missing: unix:PATH, tcp:HOST:PORT or "
                                 "tls:HOST:PORT");
    else if (status == CLI_GO_ON && options.noperands > 0)
        status = cli_usage_error("receive", options.json, "'%s' is too much: there are no operands",
                                 options.operands[0]);
    if (status == CLI_GO_ON) {
        if (options.max == 0)
            options.max = MOST_DEFAULT;
        status = receive(&options, &err) == MF_OK
                     ? (interrupt_signal() != 0 ? 128 + interrupt_signal() : CLI_OK)
                     : cli_library_error("receive", options.json, &err);
    }
    cli_options_fini(&options);
    return status;
}
