/* Requests to a service on this machine at a given rate, and when each was answered.

   caller PORT FILE CONNECTIONS RATE SECONDS [close]

   FILE holds one request, sent as it is. RATE 0 is a closed loop: each connection asks again when it is answered. Else
   requests are due at their times, whether or not a connection is free then, and an answer's time counts from there.
   With `close` each has a connection of its own. Answers go to standard output, a line each: status, microseconds,
   1 for a Retry-After; the last line has what was sent, connections opened, seconds, and the caller's own CPU seconds.
   One thread; it takes 0.03 to 0.04 ms of a core for a request. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000, BYTES = 1 << 16 };

struct connection { int file; int is_asked; int length; double due; char got[BYTES]; };
struct answer { int status; int has_retry; double seconds; };

static struct connection *all;
static struct answer *answers;
static int waiting[MOST], free_count, poll_file, is_closing;
static long sent, opened, done, room;
static char request[BYTES];
static int request_bytes;
static struct sockaddr_in to;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what) { perror(what); exit(1); }

static void open_one(struct connection *one) {
    int yes = 1;
    one->file = socket(AF_INET, SOCK_STREAM, 0);
    if (one->file < 0 || connect(one->file, (struct sockaddr *)&to, sizeof to)) fail("connect");
    setsockopt(one->file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poll_file, EPOLL_CTL_ADD, one->file, &event)) fail("epoll_ctl");
    one->length = 0;
    opened++;
}

static void ask(struct connection *one, double due) {
    if (one->file < 0) open_one(one);
    if (send(one->file, request, request_bytes, MSG_NOSIGNAL) != request_bytes) {
        close(one->file); /* it was closed while it was free */
        open_one(one);
        if (send(one->file, request, request_bytes, MSG_NOSIGNAL) != request_bytes) fail("send");
    }
    one->due = due;
    one->is_asked = 1;
    sent++;
}

static void end(struct connection *one) { close(one->file); one->file = -1; one->length = 0; }

/* Whether a whole answer is there now. */
static int is_answered(struct connection *one, int is_over) {
    one->got[one->length] = 0;
    char *body = strstr(one->got, "\r\n\r\n"), *count = strcasestr(one->got, "\r\ncontent-length: ");
    if (!body || (!is_over && (!count || one->got + one->length < body + 4 + atoi(count + 18)))) return 0;
    if (done == room) answers = realloc(answers, (room *= 2) * sizeof *answers);
    answers[done++] = (struct answer){atoi(one->got + 9), strcasestr(one->got, "\r\nretry-after: ") != 0, now() - one->due};
    one->is_asked = 0;
    waiting[free_count++] = (int)(one - all);
    if (is_over || is_closing || strcasestr(one->got, "\r\nconnection: close")) end(one);
    one->length = 0;
    return 1;
}

static void receive(struct connection *one) {
    if (one->file < 0) return;
    ssize_t count = recv(one->file, one->got + one->length, BYTES - 1 - one->length, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    if (count > 0) one->length += (int)count;
    if (!one->is_asked) { if (count <= 0) end(one); return; }
    if (is_answered(one, count <= 0) || count > 0) return;
    end(one); /* closed while the request was on its way: again, on another connection */
    sent--;
    ask(one, one->due);
}

int main(int count, char **words) {
    if (count < 6) return 2;
    FILE *file = fopen(words[2], "rb");
    if (!file) fail(words[2]);
    request_bytes = (int)fread(request, 1, sizeof request, file);
    int connections = atoi(words[3]);
    double rate = atof(words[4]), seconds = atof(words[5]);
    is_closing = count > 6;
    to.sin_family = AF_INET;
    to.sin_port = htons(atoi(words[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poll_file = epoll_create1(0);
    all = calloc(connections, sizeof *all);
    answers = malloc((room = 1 << 16) * sizeof *answers);
    for (int at = connections; at--;) all[at].file = -1, waiting[free_count++] = at;
    double began = now(), due = 0, last = 0;
    while (now() - began < seconds || free_count < connections) {
        last = now() - began;
        while (free_count && last < seconds && (rate == 0 || due <= last)) {
            ask(&all[waiting[--free_count]], rate ? began + due : now());
            if (rate) due += 1 / rate;
            last = now() - began;
        }
        double until = last >= seconds ? 1 : free_count == 0 || rate == 0 ? 0.01 : due - last;
        struct timespec wait = {(long)until, until > 0 ? (long)((until - (long)until) * 1e9) : 0};
        struct epoll_event events[256];
        int ready = epoll_pwait2(poll_file, events, 256, &wait, 0);
        for (int at = 0; at < ready; at++) receive(events[at].data.ptr);
    }
    double took = now() - began;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    for (long at = 0; at < done; at++)
        printf("%d %.0f %d\n", answers[at].status, 1e6 * answers[at].seconds, answers[at].has_retry);
    printf("sent %ld opened %ld seconds %.3f cpu %.3f\n", sent, opened, took,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
