/* load: asks a lookup server as fast as it answers.
 *
 * Closed loop: each of N connections sends one request, waits for its whole reply, and sends the
 * next.  One thread, epoll.  Prints one JSON object: requests, seconds, per_second, latencies in
 * microseconds (p50, p90, p99: upper ends of buckets 3 % wide; max: exact) and the number of
 * replies by their first byte.
 *
 *   load [-h ADDRESS] [-p PROTOCOL] [-c CONNECTIONS] [-t SECONDS | -n REQUESTS]
 *        [-k FILE | -m PERCENT] PORT
 *
 * Keys come from FILE, one a line, in turn; without it they are 198.18.0.0 to 198.18.255.255, and
 * PERCENT of them (default 50) are taken from 198.19.0.0/16 instead.
 *
 * On trouble (a reply that is not one, a closed connection) it says so and exits with 1: a number
 * measured over errors is worth nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KEY_SIZE = 256, REQUEST_SIZE = 1024, REPLY_SIZE = 4096 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

/* Protocols: how a key is asked for, and whether a reply is complete. */

struct protocol {
    const char *name;
    int (*ask)(char *request, const char *key); /* returns the length of the request */
    bool (*complete)(const char *reply, int length);
};

static int ask_tcp_table(char *request, const char *key)
{
    return snprintf(request, REQUEST_SIZE, "get %s\n", key);
}

static bool line_complete(const char *reply, int length)
{
    return reply[length - 1] == '\n';
}

static const struct protocol protocols[] = {
    {"tcp_table", ask_tcp_table, line_complete},
};

static const struct protocol *find_protocol(const char *name)
{
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    fail(name, "no such protocol, try tcp_table");
    return NULL;
}

/* Keys. */

static char (*keys)[KEY_SIZE];
static size_t key_count;
static int miss_percent = 50;
static uint64_t random_state = 88172645463325252u; /* xorshift64: the same keys in every run */

static void read_keys(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[KEY_SIZE];
    if (file == NULL)
        fail(path, strerror(errno));
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if ((key_count & (key_count + 1)) == 0) /* room for twice as many, less one */
            keys = realloc(keys, (2 * key_count + 1) * sizeof *keys);
        if (keys == NULL)
            fail(path, "out of memory");
        strcpy(keys[key_count++], line);
    }
    fclose(file);
    if (key_count == 0)
        fail(path, "no keys");
}

static const char *next_key(void)
{
    static char key[KEY_SIZE];
    static size_t next;
    if (key_count > 0)
        return keys[next++ % key_count];
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    unsigned net = (random_state >> 40) % 100 < (unsigned)miss_percent ? 19 : 18;
    snprintf(key, sizeof key, "198.%u.%u.%u", net, (unsigned)(random_state & 255),
             (unsigned)(random_state >> 8 & 255));
    return key;
}

/* Latencies, as in HdrHistogram: 32 buckets to each power of two, in nanoseconds. */

enum { STEPS = 32 };
static uint64_t buckets[64 * STEPS], worst;

static void record(uint64_t nanoseconds)
{
    int power = 63 - __builtin_clzll(nanoseconds | STEPS);
    buckets[power * STEPS + (nanoseconds >> (power - 5)) % STEPS]++;
    if (nanoseconds > worst)
        worst = nanoseconds;
}

static double percentile(double percent, uint64_t total)
{
    uint64_t seen = 0;
    for (int i = 5 * STEPS; i < 64 * STEPS; i++) {
        seen += buckets[i];
        if (seen >= percent / 100 * total) {
            uint64_t upper = (uint64_t)(STEPS + i % STEPS + 1) << (i / STEPS - 5);
            return (upper < worst ? upper : worst) / 1e3;
        }
    }
    return worst / 1e3;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

/* Connections. */

struct connection {
    int fd, heard;
    uint64_t asked;
    char reply[REPLY_SIZE];
};

static uint64_t replies_by_first_byte[256];

static void open_connection(struct connection *connection, const char *address, int port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    int one = 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
        fail(address, "not an address");
    connection->fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    if (connection->fd < 0)
        fail("socket", strerror(errno));
    if (connect(connection->fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof v4 : sizeof v6))
        fail(address, strerror(errno));
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void ask(struct connection *connection, const struct protocol *protocol)
{
    char request[REQUEST_SIZE];
    int length = protocol->ask(request, next_key());
    connection->heard = 0;
    connection->asked = now();
    if (send(connection->fd, request, length, MSG_NOSIGNAL) != length)
        fail("send", strerror(errno));
}

/* Reads; true when the reply is complete. */
static bool hear(struct connection *connection, const struct protocol *protocol)
{
    int room = REPLY_SIZE - connection->heard;
    int got = recv(connection->fd, connection->reply + connection->heard, room, 0);
    if (got <= 0)
        fail("recv", got < 0 ? strerror(errno) : "the server closed the connection or talks on");
    connection->heard += got;
    if (!protocol->complete(connection->reply, connection->heard))
        return false;
    record(now() - connection->asked);
    replies_by_first_byte[(unsigned char)connection->reply[0]]++;
    return true;
}

static void print_result(uint64_t requests, double seconds)
{
    const char *comma = "";
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.3f, \"per_second\": %.0f, ", requests,
           seconds, requests / seconds);
    printf("\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"replies\": {",
           percentile(50, requests), percentile(90, requests), percentile(99, requests),
           worst / 1e3);
    for (int byte = 0; byte < 256; byte++)
        if (replies_by_first_byte[byte] > 0) {
            printf(byte >= '!' && byte <= '~' && byte != '"' && byte != '\\'
                       ? "%s\"%c\": %" PRIu64 : "%s\"\\u%04x\": %" PRIu64,
                   comma, byte, replies_by_first_byte[byte]);
            comma = ", ";
        }
    printf("}}\n");
}

int main(int argc, char **argv)
{
    const struct protocol *protocol = &protocols[0];
    const char *address = "127.0.0.1";
    int connections = 10, option;
    double seconds = 5;
    uint64_t limit = UINT64_MAX;
    while ((option = getopt(argc, argv, "h:p:c:t:n:k:m:")) != -1)
        switch (option) {
        case 'h': address = optarg; break;
        case 'p': protocol = find_protocol(optarg); break;
        case 'c': connections = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'n': limit = strtoull(optarg, NULL, 10); seconds = 1e9; break;
        case 'k': read_keys(optarg); break;
        case 'm': miss_percent = atoi(optarg); break;
        default: return 2;
        }
    if (optind != argc - 1 || connections < 1)
        fail("arguments", "expected a port, and one connection or more");

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event ready[256];
    int epoll = epoll_create1(0), waiting = connections;
    if (all == NULL || epoll < 0)
        fail("start", strerror(errno));
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        open_connection(&all[i], address, atoi(argv[optind]));
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
    }

    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), asked = connections;
    for (int i = 0; i < connections; i++)
        ask(&all[i], protocol);
    while (waiting > 0) {
        int count = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = ready[i].data.ptr;
            if (!hear(connection, protocol))
                continue;
            if (asked < limit && now() < end) {
                ask(connection, protocol);
                asked++;
            } else
                waiting--;
        }
    }
    print_result(asked, (now() - start) / 1e9);
    return 0;
}
