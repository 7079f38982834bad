/* login: a login as Courier and rsyslog write it, stamped with the present. */
#ifndef LOGIN_H
#define LOGIN_H

#include <stdio.h>
#include <time.h>

enum { LOGIN_SIZE = 256 };

/* Writes the login of a user from an address into line; returns its length. */
static int login_line(char *line, unsigned user, const char *address)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    return snprintf(line, LOGIN_SIZE,
                    "%s.%06ld+00:00 mail pop3d: LOGIN, user=user%u@example.org, ip=[::ffff:%s], "
                    "port=[%u]\n",
                    stamp, now.tv_nsec / 1000, user, address, 1024 + user % 60000);
}

#endif
