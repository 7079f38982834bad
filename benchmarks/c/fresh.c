/* fresh: writes a login to a log and asks for its address at once, again and again.
 *
 *   fresh LOG PORT FIRST TIMES HIT
 *
 * One connection to a tcp_table on 127.0.0.1.  Each login is of another address: the FIRST of
 * 10.0.0.0/8, which must not have been granted before, and those behind it.  Its lookup is sent as
 * soon as write(2) has returned.  After each such lookup follows a plain hit: one of the address
 * HIT, which has been granted before.  Prints one JSON object: times, missed (lookups that did not
 * find the login before them) and, in microseconds from write's return or the request to the reply,
 * fresh_p50, fresh_p99, fresh_max, hit_p50, hit_p99, hit_max.
 *
 * On trouble (LOG or the server fails, HIT is not found) it says so and exits with 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "login.h"

enum { REPLY_SIZE = 4096 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "fresh: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static int connected(int port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (void *)&where, sizeof where))
        fail("connect", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Whether the server finds the address. */
static bool found(int server, const char *address)
{
    char text[REPLY_SIZE];
    int heard = 0, length = snprintf(text, sizeof text, "get %s\n", address);
    if (send(server, text, length, MSG_NOSIGNAL) != length)
        fail("send", strerror(errno));
    do {
        int got = recv(server, text + heard, sizeof text - heard, 0);
        if (got <= 0)
            fail("recv", got < 0 ? strerror(errno) : "the server closed the connection");
        heard += got;
    } while (text[heard - 1] != '\n');
    return text[0] == '2';
}

static int ascending(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void print_times(const char *name, uint64_t *times, size_t count)
{
    qsort(times, count, sizeof *times, ascending);
    printf(", \"%s_p50\": %.1f, \"%s_p99\": %.1f, \"%s_max\": %.1f", name, times[count / 2] / 1e3,
           name, times[count * 99 / 100] / 1e3, name, times[count - 1] / 1e3);
}

int main(int argc, char **argv)
{
    if (argc != 6 || atoi(argv[4]) < 1)
        fail("arguments", "expected LOG PORT FIRST TIMES HIT");
    unsigned first = atoi(argv[3]), times = atoi(argv[4]), missed = 0;
    int log = open(argv[1], O_WRONLY | O_APPEND), server = connected(atoi(argv[2]));
    uint64_t *fresh = calloc(times, sizeof *fresh), *hit = calloc(times, sizeof *hit);
    if (log < 0 || fresh == NULL || hit == NULL)
        fail(argv[1], strerror(errno));
    for (unsigned i = 0; i < times; i++) {
        char address[16], line[LOGIN_SIZE];
        unsigned which = first + i;
        snprintf(address, sizeof address, "10.%u.%u.%u", which >> 16 & 255, which >> 8 & 255,
                 which & 255);
        int length = login_line(line, which, address);
        if (write(log, line, length) != length)
            fail(argv[1], strerror(errno));
        uint64_t began = now();
        missed += !found(server, address);
        fresh[i] = now() - began;
        began = now();
        if (!found(server, argv[5]))
            fail(argv[5], "not found, though it was granted before");
        hit[i] = now() - began;
    }
    printf("{\"times\": %u, \"missed\": %u", times, missed);
    print_times("fresh", fresh, times);
    print_times("hit", hit, times);
    printf("}\n");
    return 0;
}
