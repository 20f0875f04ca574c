#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

/* DIR/log and DIR/log.1: at most `limit` bytes each. */
void log_open(struct log *log, int dir, uint64_t limit)
{
	struct stat info;

	log->dir = dir;
	log->limit = limit;
	log->fd = openat(dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log->fd < 0 || fstat(log->fd, &info))
		die("log: %m");
	log->size = (uint64_t)info.st_size;
}

static void rotate(struct log *log)
{
	int fd;

	if (renameat(log->dir, "log", log->dir, "log.1"))
		return;
	fd = openat(log->dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return; /* goes on into the old file; the next line tries again */
	close(log->fd);
	log->fd = fd;
	log->size = 0;
}

static void append(struct log *log, const char *bytes, size_t count)
{
	if (log->size && log->size + count > log->limit)
		rotate(log);
	while (count) {
		ssize_t put = write(log->fd, bytes, count);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			log->lost += count; /* a full disk must not stop the command */
			return;
		}
		log->size += (uint64_t)put;
		bytes += put;
		count -= (size_t)put;
	}
}

/* Moves what there is; false when the command's side is closed. */
bool log_pump(struct log *log, int from)
{
	char bytes[16384];

	for (int round = 0; round < 16; round++) {
		ssize_t got = read(from, bytes, sizeof(bytes));

		if (got == 0)
			return false;
		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		append(log, bytes, (size_t)got);
	}
	return true;
}
