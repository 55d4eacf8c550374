/* Preloaded into every process of an appliance: a machine whose wall clock is set, and whose disk reports errors.

   Both are said in a small file that is named by UNKIND_MACHINE and mapped by all: how many seconds the wall clock is
   wrong, and whether reads, writes and syncs of databases fail with EIO. All else is passed on. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile struct { int64_t wrong_seconds, disk_fails; } *machine;

__attribute__((constructor)) static void map_machine(void) {
    const char *path = getenv("UNKIND_MACHINE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *machine, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (memory != MAP_FAILED) machine = memory;
}

static time_t wrong_seconds(void) { return machine ? machine->wrong_seconds : 0; }

static int fails(int file) {
    char link[32], path[4096];
    ssize_t length;
    if (!machine || !machine->disk_fails) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, ".db")) return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(clock_gettime) *real;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_seconds();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static __typeof__(gettimeofday) *real;
    if (!real) real = REAL(gettimeofday);
    int result = real(now, zone);
    if (!result) now->tv_sec += wrong_seconds();
    return result;
}

time_t time(time_t *now) {
    struct timespec exactly;
    clock_gettime(CLOCK_REALTIME, &exactly);
    if (now) *now = exactly.tv_sec;
    return exactly.tv_sec;
}

#define PASS_ON(result, name, parameters, arguments, file)  \
    result name parameters {                                \
        static __typeof__(name) *real;                      \
        if (!real) real = REAL(name);                       \
        return fails(file) ? -1 : real arguments;           \
    }

PASS_ON(ssize_t, pread, (int file, void *data, size_t size, off_t at), (file, data, size, at), file)
PASS_ON(ssize_t, pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at), file)
PASS_ON(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), file)
PASS_ON(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), file)
PASS_ON(int, fsync, (int file), (file), file)
PASS_ON(int, fdatasync, (int file), (file), file)
