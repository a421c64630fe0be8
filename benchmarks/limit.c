/* What a machine can do at most: runs the lines of standard input, each as `sh -c LINE`, and prints their output in order.
 *
 *     limit WORKERS < lines
 *
 * posix_spawn in one thread for each processor, a session, two pipes and a pidfd for each command, one epoll for all of
 * them, wait4. No timeouts, no retries, no records, no memory limit; a failure of its own ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUT, ERR, EXIT, KINDS };

struct job {
    char *line;
    pid_t pid;
    int fds[KINDS]; /* two pipes and a pidfd */
    char *text[2];
    size_t length[2];
    int exited, over;
};

static struct job *jobs;
static size_t count, next_job, allowed;
static int epoll;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void read_jobs(void) {
    size_t room = 0, length = 0;
    char *line = NULL;
    while (getline(&line, &length, stdin) > 0) {
        if (count == room && !(jobs = realloc(jobs, (room = room ? 2 * room : 1024) * sizeof *jobs)))
            die("realloc");
        line[strcspn(line, "\n")] = 0;
        jobs[count++] = (struct job){.line = strdup(line)};
    }
    free(line);
}

static void watch(struct job *job, int kind) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = (size_t)(job - jobs) * KINDS + kind};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, job->fds[kind], &event))
        die("epoll_ctl");
}

static void start(struct job *job, posix_spawnattr_t *attributes) {
    char *argv[] = {"/bin/sh", "-c", job->line, NULL};
    int writing[2], error;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int kind = OUT; kind <= ERR; kind++) {
        int pair[2];
        if (pipe2(pair, O_CLOEXEC | O_NONBLOCK))
            die("pipe2");
        job->fds[kind] = pair[0];
        writing[kind] = pair[1];
        fcntl(pair[1], F_SETFL, 0);
        posix_spawn_file_actions_adddup2(&actions, pair[1], kind + 1);
    }
    if ((error = posix_spawn(&job->pid, argv[0], &actions, attributes, argv, environ))) {
        errno = error;
        die("posix_spawn");
    }
    posix_spawn_file_actions_destroy(&actions);
    close(writing[OUT]);
    close(writing[ERR]);
    if ((job->fds[EXIT] = (int)syscall(SYS_pidfd_open, job->pid, 0)) < 0)
        die("pidfd_open");
    for (int kind = OUT; kind < KINDS; kind++)
        watch(job, kind);
}

static void *spawner(void *unused) {
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t all;
    sigfillset(&all); /* for each signal that isn't in it glibc makes two system calls instead of one */
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
    for (;;) {
        pthread_mutex_lock(&lock);
        while (next_job == allowed && next_job < count)
            pthread_cond_wait(&more, &lock);
        size_t mine = next_job < count ? next_job++ : count;
        pthread_mutex_unlock(&lock);
        if (mine == count)
            return unused;
        start(&jobs[mine], &attributes);
    }
}

static void allow(size_t another) {
    pthread_mutex_lock(&lock);
    allowed = allowed + another < count ? allowed + another : count;
    pthread_cond_broadcast(&more);
    pthread_mutex_unlock(&lock);
}

static void take(struct job *job, int kind) {
    static char buffer[65536];
    ssize_t got;
    while ((got = read(job->fds[kind], buffer, sizeof buffer)) > 0) {
        if (!(job->text[kind] = realloc(job->text[kind], job->length[kind] + (size_t)got)))
            die("realloc");
        memcpy(job->text[kind] + job->length[kind], buffer, (size_t)got);
        job->length[kind] += (size_t)got;
    }
    if (got == 0) {
        close(job->fds[kind]);
        job->fds[kind] = -1;
    }
}

static void reap(struct job *job) {
    int status;
    struct rusage usage;
    if (wait4(job->pid, &status, 0, &usage) < 0)
        die("wait4");
    close(job->fds[EXIT]);
    job->exited = 1;
}

/* Whether it is over now, and wasn't before. A child that is just being made may hold a pipe open for a moment longer. */
static int ends(struct job *job) {
    if (job->over || !job->exited || job->fds[OUT] >= 0 || job->fds[ERR] >= 0)
        return 0;
    return job->over = 1;
}

static void handle(struct job *job, int kind) {
    if (kind != EXIT) {
        if (job->fds[kind] >= 0)
            take(job, kind);
    } else if (!job->exited) {
        reap(job);
        handle(job, OUT);
        handle(job, ERR);
    }
}

static void print(struct job *job) {
    for (int kind = OUT; kind <= ERR; kind++) {
        fwrite(job->text[kind], 1, job->length[kind], kind == OUT ? stdout : stderr);
        free(job->text[kind]);
    }
    free(job->line);
}

int main(int argc, char **argv) {
    size_t printed = 0, workers = argc > 1 ? strtoul(argv[1], NULL, 10) : 8;
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    read_jobs();
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    allowed = workers < count ? workers : count;
    for (long processors = sysconf(_SC_NPROCESSORS_ONLN); processors > 0; processors--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, spawner, NULL))
            die("pthread_create");
    }
    while (printed < count) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        size_t ended = 0;
        for (int number = 0; number < ready; number++) {
            struct job *job = &jobs[events[number].data.u64 / KINDS];
            handle(job, (int)(events[number].data.u64 % KINDS));
            ended += ends(job);
        }
        if (ended)
            allow(ended);
        while (printed < count && jobs[printed].over)
            print(&jobs[printed++]);
    }
    return 0;
}
