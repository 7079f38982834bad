/* pour: writes logins to a log at a steady pace, as a busy mail server does.
 *
 *   pour LOG RATE SECONDS
 *
 * RATE lines a second, in a hundred writes a second at most; addresses are the 50,000 first of
 * 10.0.0.0/8 and users 20,000, over and over.  Prints one JSON object: lines, seconds.  A write that
 * comes late is made up for, so that the mean pace holds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "login.h"

enum { ADDRESSES = 50000, USERS = 20000, WRITES = 100, AT_ONCE = 1 << 20 };

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "pour: %s: %s\n", what, why);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static char block[AT_ONCE];
    if (argc != 4)
        fail("arguments", "expected LOG RATE SECONDS");
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    double pause = rate < WRITES ? 1 / rate : 1.0 / WRITES, began = now(), passed;
    uint64_t written = 0;
    int log = open(argv[1], O_WRONLY | O_APPEND);
    if (log < 0)
        fail(argv[1], strerror(errno));
    do {
        int length = 0;
        passed = now() - began;
        for (; written < rate * passed && length + LOGIN_SIZE <= AT_ONCE; written++) {
            char address[16];
            unsigned which = written % ADDRESSES;
            snprintf(address, sizeof address, "10.%u.%u.%u", which >> 16, which >> 8 & 255,
                     which & 255);
            length += login_line(block + length, which % USERS, address);
        }
        if (write(log, block, length) != length)
            fail(argv[1], strerror(errno));
        usleep(pause * 1e6);
    } while (passed < seconds);
    printf("{\"lines\": %" PRIu64 ", \"seconds\": %.3f}\n", written, passed);
    return 0;
}
