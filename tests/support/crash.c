/* Ends a process with SIGKILL before its n-th call that changes a file or sends a byte, for tests: loaded with
 * LD_PRELOAD, so that the program under test is the one that is shipped and knows nothing of it. A write has two
 * points, before it and in its middle: what a kill leaves there is half a line or half a request.
 *
 * BUNDLE_CRASH_AT=n      at which call; without it nothing is counted
 * BUNDLE_CRASH_COUNT=f   where a run that reached its end says how many points it passed
 *
 * A call that libraries make without the C library (fallocate, some renames) is no point of its own. The disk at that
 * moment is the one between the calls around it, which are points.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static long limit;
static atomic_long calls;

__attribute__((constructor)) static void begin(void) {
  const char *number = getenv("BUNDLE_CRASH_AT");
  limit = number ? atol(number) : 0;
}

__attribute__((destructor)) static void end(void) {
  const char *name = getenv("BUNDLE_CRASH_COUNT");
  FILE *file = name ? fopen(name, "w") : NULL;
  if (file) {
    fprintf(file, "%ld\n", atomic_load(&calls));
    fclose(file);
  }
}

static int here(void) { return limit > 0 && atomic_fetch_add(&calls, 1) + 1 == limit; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static void point(void) {
  if (here()) die();
}

/* Files and sockets count; what a runtime tells itself through pipes and event counters changes nothing. */
static int counts(int fd) {
  struct stat found;
  return limit > 0 && fd > 2 && fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISSOCK(found.st_mode));
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define WITH_PATH(name, declared, passed) \
  int name declared { NEXT(name); point(); return next passed; }
WITH_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
WITH_PATH(rmdir, (const char *path), (path))
WITH_PATH(unlink, (const char *path), (path))
WITH_PATH(unlinkat, (int at, const char *path, int flags), (at, path, flags))
WITH_PATH(rename, (const char *from, const char *to), (from, to))
WITH_PATH(link, (const char *from, const char *to), (from, to))
WITH_PATH(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
WITH_PATH(fsync, (int fd), (fd))
WITH_PATH(fdatasync, (int fd), (fd))
WITH_PATH(ftruncate64, (int fd, off64_t size), (fd, size))
WITH_PATH(chmod, (const char *path, mode_t mode), (path, mode))

int open64(const char *path, int flags, ...) {
  NEXT(open64);
  va_list more;
  va_start(more, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (flags & (O_CREAT | O_TRUNC)) point();
  return next(path, flags, mode);
}

/* The point in the middle comes with half of the bytes. */
#define WRITE(result, name, declared, all, half) \
  result name declared { \
    NEXT(name); \
    if (counts(fd)) { \
      point(); \
      if (size > 1 && here()) { next half; die(); } \
    } \
    return next all; \
  }
WRITE(ssize_t, write, (int fd, const void *bytes, size_t size), (fd, bytes, size), (fd, bytes, size / 2))
WRITE(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at), (fd, bytes, size / 2, at))
WRITE(ssize_t, send, (int fd, const void *bytes, size_t size, int flags), (fd, bytes, size, flags), (fd, bytes, size / 2, flags))
WRITE(ssize_t, writev, (int fd, const struct iovec *bytes, int size), (fd, bytes, size), (fd, bytes, size / 2))

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  NEXT(sendmsg);
  if (counts(fd)) point();
  return next(fd, message, flags);
}
