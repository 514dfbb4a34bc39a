/* Records what a process asks of the disk, for the power-loss model.
 *
 * Preloaded (LD_PRELOAD) into a process, it appends one record per call that
 * changes or syncs a file under $RECORDER_ROOT to $RECORDER_LOG, in the order
 * in which the calls took effect:
 *
 *   u8 operation, u32 handle, u64 offset, u32 length, length bytes
 *
 * all little-endian. The bytes are the path for operations on names (two
 * paths, each ended by a zero byte, for RENAME) and the data for WRITE.
 * With $RECORDER_DEAF set, fdatasync goes unrecorded, as if it were not called.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR };

#define MAX_FD 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static int deaf;
static const char *root;
static size_t root_len;
static uint32_t handles[MAX_FD]; /* 0: not ours */
static uint32_t next_handle = 1;

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("RECORDER_LOG");
  root = getenv("RECORDER_ROOT");
  deaf = getenv("RECORDER_DEAF") != NULL;
  if (path == NULL || root == NULL) {
    root = NULL;
    return;
  }
  root_len = strlen(root);
  log_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log_fd < 0) abort();
  /* Processes that record one after the other must not share handles. */
  next_handle = ((uint32_t)getpid() & 0xffff) << 16 | 1;
}

/* Lets a process end in the middle of its work, but not of a record. */
__attribute__((destructor)) static void stop(void) { pthread_mutex_lock(&lock); }

static int ours(const char *path) {
  return root != NULL && path != NULL && strncmp(path, root, root_len) == 0;
}

static void emit(const void *bytes, size_t len) {
  const char *at = bytes;
  while (len > 0) {
    long n = syscall(SYS_write, log_fd, at, len);
    if (n < 0) {
      if (errno == EINTR) continue;
      abort();
    }
    at += n;
    len -= (size_t)n;
  }
}

/* Called with the lock held. */
static void record(uint8_t op, uint32_t handle, uint64_t offset,
                   const void *bytes, uint32_t len) {
  unsigned char head[17];
  head[0] = op;
  memcpy(head + 1, &handle, 4);
  memcpy(head + 5, &offset, 8);
  memcpy(head + 13, &len, 4);
  emit(head, sizeof head);
  emit(bytes, len);
}

static uint32_t handle_of(int fd) {
  return fd >= 0 && fd < MAX_FD ? handles[fd] : 0;
}

static int do_open(int at, const char *path, int flags, mode_t mode) {
  if (!ours(path)) return (int)syscall(SYS_openat, at, path, flags, mode);
  pthread_mutex_lock(&lock);
  struct stat before;
  int existed = stat(path, &before) == 0;
  int fd = (int)syscall(SYS_openat, at, path, flags, mode);
  int kept = errno;
  if (fd >= MAX_FD) abort();
  if (fd >= 0) {
    handles[fd] = next_handle++;
    /* The offset says whether the file was made by this call. */
    record(OPEN, handles[fd], existed ? 0 : 1, path, (uint32_t)strlen(path));
    if (existed && (flags & O_TRUNC))
      record(TRUNCATE, handles[fd], 0, "", 0);
  }
  pthread_mutex_unlock(&lock);
  errno = kept;
  return fd;
}

#define OPEN_MODE                               \
  mode_t mode = 0;                              \
  if (flags & (O_CREAT | O_TMPFILE)) {          \
    va_list args;                               \
    va_start(args, flags);                      \
    mode = va_arg(args, mode_t);                \
    va_end(args);                               \
  }

int open(const char *path, int flags, ...) {
  OPEN_MODE return do_open(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  OPEN_MODE return do_open(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int openat(int at, const char *path, int flags, ...) {
  OPEN_MODE return do_open(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
  OPEN_MODE return do_open(at, path, flags | O_LARGEFILE, mode);
}

int close(int fd) {
  pthread_mutex_lock(&lock);
  if (fd >= 0 && fd < MAX_FD) handles[fd] = 0;
  int result = (int)syscall(SYS_close, fd);
  int kept = errno;
  pthread_mutex_unlock(&lock);
  errno = kept;
  return result;
}

static ssize_t do_write(int fd, const void *bytes, size_t len, int64_t offset) {
  uint32_t handle = handle_of(fd);
  if (handle == 0)
    return offset < 0 ? syscall(SYS_write, fd, bytes, len)
                      : syscall(SYS_pwrite64, fd, bytes, len, offset);
  pthread_mutex_lock(&lock);
  int64_t at = offset;
  if (offset < 0) {
    at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END)
                                       : lseek(fd, 0, SEEK_CUR);
  }
  long n = offset < 0 ? syscall(SYS_write, fd, bytes, len)
                      : syscall(SYS_pwrite64, fd, bytes, len, offset);
  int kept = errno;
  if (n > 0) record(WRITE, handle, (uint64_t)at, bytes, (uint32_t)n);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return n;
}

ssize_t write(int fd, const void *bytes, size_t len) {
  return do_write(fd, bytes, len, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
  return do_write(fd, bytes, len, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset) {
  return do_write(fd, bytes, len, offset);
}
/* Nothing here uses these on files; a change that does must teach the model. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (handle_of(fd) != 0) abort();
  return syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  (void)parts, (void)count, (void)offset;
  if (handle_of(fd) != 0) abort();
  errno = ENOSYS;
  return -1;
}

static int do_truncate(int fd, off64_t len) {
  uint32_t handle = handle_of(fd);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(SYS_ftruncate, fd, len);
  int kept = errno;
  if (result == 0 && handle != 0)
    record(TRUNCATE, handle, (uint64_t)len, "", 0);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return result;
}
int ftruncate(int fd, off_t len) { return do_truncate(fd, len); }
int ftruncate64(int fd, off64_t len) { return do_truncate(fd, len); }

/* A sync covers what was written before it began, from when it has ended. */
static int do_sync(int fd, long number, int hear) {
  uint32_t handle = handle_of(fd);
  if (handle == 0 || !hear) return (int)syscall(number, fd);
  pthread_mutex_lock(&lock);
  /* The offset tells fsync (1) from fdatasync (0). */
  record(SYNC_BEGIN, handle, number == SYS_fsync, "", 0);
  pthread_mutex_unlock(&lock);
  int result = (int)syscall(number, fd);
  int kept = errno;
  if (result == 0) {
    pthread_mutex_lock(&lock);
    record(SYNC_END, handle, 0, "", 0);
    pthread_mutex_unlock(&lock);
  }
  errno = kept;
  return result;
}
int fsync(int fd) { return do_sync(fd, SYS_fsync, 1); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync, !deaf); }

static void record_name(uint8_t op, const char *path) {
  record(op, 0, 0, path, (uint32_t)strlen(path));
}

int unlink(const char *path) {
  if (!ours(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  int kept = errno;
  if (result == 0) record_name(UNLINK, path);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return result;
}
int mkdir(const char *path, mode_t mode) {
  if (!ours(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  int kept = errno;
  if (result == 0) record_name(MKDIR, path);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return result;
}
int rename(const char *from, const char *to) {
  if (!ours(from))
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  char both[2 * PATH_MAX];
  size_t a = strlen(from) + 1, b = strlen(to) + 1;
  if (a + b > sizeof both) abort();
  memcpy(both, from, a);
  memcpy(both + a, to, b);
  pthread_mutex_lock(&lock);
  int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  int kept = errno;
  if (result == 0) record(RENAME, 0, 0, both, (uint32_t)(a + b));
  pthread_mutex_unlock(&lock);
  errno = kept;
  return result;
}
