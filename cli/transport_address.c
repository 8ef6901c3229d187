/* Addresses of transports: from text and to text, and where they lead. */
#include "transport_inside.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *prefix;
    enum transport_kind kind;
} kinds[] = {{"unix:", TRANSPORT_UNIX}, {"tcp:", TRANSPORT_TCP}, {"tls:", TRANSPORT_TLS}};

static int copy_part(const char *text, size_t len, char *out, size_t size, const char *what,
                     struct mf_error *err)
{
    if (len == 0)
        return mf_fail(err, MF_E_ARGUMENT, "the address has no %s", what);
    if (len >= size)
        return mf_fail(err, MF_E_ARGUMENT, "the %s is too long: at most %zu bytes", what, size - 1);
    memcpy(out, text, len);
    out[len] = 0;
    return MF_OK;
}

static int parse_port(const char *text, uint16_t *out, struct mf_error *err)
{
    size_t len = strspn(text, "0123456789");
    unsigned port = 0;

    if (len == 0 || text[len] != 0 || len > 5)
        return mf_fail(err, MF_E_ARGUMENT, "'%.40s' is no port: 0 to 65535", text);
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    if (port > UINT16_MAX)
        return mf_fail(err, MF_E_ARGUMENT, "'%.40s' is no port: 0 to 65535", text);
    *out = (uint16_t)port;
    return MF_OK;
}

/* HOST:PORT or [IPV6]:PORT. */
static int parse_host_port(const char *text, struct transport_address *out, struct mf_error *err)
{
    const char *host = text, *end, *colon;

    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL || end[1] != ':')
            return mf_fail(err, MF_E_ARGUMENT,
                           "'%.100s' has no ']' with ':PORT' behind it: expected [ADDRESS]:PORT",
                           text);
        colon = end + 1;
    } else {
        end = colon = strrchr(text, ':');
        if (colon == NULL)
            return mf_fail(err, MF_E_ARGUMENT, "'%.100s' has no port: expected HOST:PORT", text);
        if (memchr(text, ':', (size_t)(colon - text)) != NULL)
            return mf_fail(err, MF_E_ARGUMENT,
                           "'%.100s' has several colons: an IPv6 address stands in brackets, "
                           "[ADDRESS]:PORT",
                           text);
    }
    int status = copy_part(host, (size_t)(end - host), out->host, sizeof out->host, "host", err);
    return status == MF_OK ? parse_port(colon + 1, &out->port, err) : status;
}

int transport_address_parse(const char *text, struct transport_address *out, struct mf_error *err)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, len) != 0)
            continue;
        out->kind = kinds[i].kind;
        if (out->kind == TRANSPORT_UNIX)
            return copy_part(text + len, strlen(text + len), out->path, sizeof out->path, "path",
                             err);
        return parse_host_port(text + len, out, err);
    }
    return mf_fail(err, MF_E_ARGUMENT,
                   "'%.100s' is no address: expected unix:PATH, tcp:HOST:PORT or tls:HOST:PORT",
                   text);
}

char *transport_address_text(const struct transport_address *address, char *text, size_t size)
{
    const char *prefix = kinds[address->kind].prefix;

    if (address->kind == TRANSPORT_UNIX)
        snprintf(text, size, "%s%s", prefix, address->path);
    else if (strchr(address->host, ':') != NULL)
        snprintf(text, size, "%s[%s]:%u", prefix, address->host, (unsigned)address->port);
    else
        snprintf(text, size, "%s%s:%u", prefix, address->host, (unsigned)address->port);
    return text;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}

static int check_loopback(const struct addrinfo *list, const char *host, struct mf_error *err)
{
    for (; list != NULL; list = list->ai_next) {
        char numeric[INET6_ADDRSTRLEN] = "?";
        if (is_loopback(list->ai_addr))
            continue;
        getnameinfo(list->ai_addr, list->ai_addrlen, numeric, sizeof numeric, NULL, 0,
                    NI_NUMERICHOST);
        return mf_fail(err, MF_E_ARGUMENT,
                       "%.80s (%s) is not a loopback address: plain TCP is readable and changeable "
                       "on the way; use tls:, or --insecure if the network is safe",
                       host, numeric);
    }
    return MF_OK;
}

int transport_resolve(const struct transport_address *address, bool insecure, bool listening,
                      struct addrinfo **out, struct mf_error *err)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0),
    };
    char port[8];

    *out = NULL;
    if (address->port == 0 && !listening)
        return mf_fail(err, MF_E_ARGUMENT, "port 0 is for listening: nobody can connect to it");
    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    int error = getaddrinfo(address->host, port, &hints, out);
    if (error != 0)
        return mf_fail(err, MF_E_CHANNEL, "cannot find the address of %.100s: %s", address->host,
                       gai_strerror(error));
    int status = MF_OK;
    if (address->kind == TRANSPORT_TCP && !insecure)
        status = check_loopback(*out, address->host, err);
    if (status != MF_OK) {
        freeaddrinfo(*out);
        *out = NULL;
    }
    return status;
}
