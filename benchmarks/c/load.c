/* load: asks a lookup server as fast as it answers.
 *
 * Closed loop: each of N connections sends one request, waits for its whole reply, and sends the
 * next.  One thread, epoll.  Prints one JSON object: requests, seconds, per_second, latencies in
 * microseconds (p50, p90, p99: upper ends of buckets 3 % wide; max: exact), hits and misses.
 *
 *   load [-h ADDRESS] [-p PROTOCOL] [-c CONNECTIONS] [-t SECONDS | -n REQUESTS]
 *        [-k FILE | -m PERCENT] PORT
 *
 * Keys come from FILE, one a line, in turn; without it they are 198.18.0.0 to 198.18.255.255, and
 * PERCENT of them (default 50) are taken from 198.19.0.0/16 instead.
 *
 * Protocols: tcp_table; redis (GET, as an array of bulk strings); postsrsd, which is a tcp_table
 * that finds whatever has an @ in it: keys of 198.18.0.0/16 are given one.
 *
 * On trouble (a reply that is neither a hit nor a miss, a closed connection) it says so and exits
 * with 1: a number measured over errors is worth nothing.
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

/* Protocols: how a key is asked for, and what a reply says. */

enum verdict { INCOMPLETE, HIT, MISS, TROUBLE };

struct protocol {
    const char *name;
    int (*ask)(char *request, const char *key); /* returns the length of the request */
    enum verdict (*judge)(const char *reply, int length);
};

static int ask_tcp_table(char *request, const char *key)
{
    return snprintf(request, REQUEST_SIZE, "get %s\n", key);
}

static int ask_postsrsd(char *request, const char *key)
{
    const char *user = strncmp(key, "198.18.", 7) == 0 ? "user@" : "";
    return snprintf(request, REQUEST_SIZE, "get %s%s\n", user, key);
}

static int ask_redis(char *request, const char *key)
{
    return snprintf(request, REQUEST_SIZE, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
}

static enum verdict judge_tcp_table(const char *reply, int length)
{
    if (reply[length - 1] != '\n')
        return INCOMPLETE;
    return reply[0] == '2' ? HIT : reply[0] == '5' ? MISS : TROUBLE;
}

static enum verdict judge_redis(const char *reply, int length)
{
    const char *line = memchr(reply, '\n', length);
    if (line == NULL)
        return INCOMPLETE;
    if (reply[0] != '$')
        return TROUBLE;
    int size = atoi(reply + 1);
    if (size < 0)
        return MISS;
    return length < line + 1 - reply + size + 2 ? INCOMPLETE : HIT;
}

static const struct protocol protocols[] = {
    {"tcp_table", ask_tcp_table, judge_tcp_table},
    {"redis", ask_redis, judge_redis},
    {"postsrsd", ask_postsrsd, judge_tcp_table},
};

static const struct protocol *find_protocol(const char *name)
{
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    fail(name, "no such protocol: tcp_table, redis or postsrsd");
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

static uint64_t hits, misses;

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
    enum verdict verdict = protocol->judge(connection->reply, connection->heard);
    if (verdict == INCOMPLETE)
        return false;
    record(now() - connection->asked);
    if (verdict == TROUBLE) {
        connection->reply[strcspn(connection->reply, "\r\n")] = '\0';
        fail("trouble", connection->reply);
    }
    if (verdict == HIT)
        hits++;
    else
        misses++;
    return true;
}

static void print_result(uint64_t requests, double seconds)
{
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.3f, \"per_second\": %.0f, ", requests,
           seconds, requests / seconds);
    printf("\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f, ", percentile(50, requests),
           percentile(90, requests), percentile(99, requests), worst / 1e3);
    printf("\"hits\": %" PRIu64 ", \"misses\": %" PRIu64 "}\n", hits, misses);
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
        /* Not measured: who answers has accepted, so that no server's backlog overflows. */
        ask(&all[i], protocol);
        while (!hear(&all[i], protocol))
            ;
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    memset(buckets, 0, sizeof buckets);
    worst = hits = misses = 0;

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
