#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

uint64_t clock_real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* DIR/status, lines "key=value", replaced in one step so that a reader never sees half of it. A full disk leaves the
 * old one: the supervisor goes on, and the lock still tells whether it lives. */
void status_write(int dir, const struct status *status)
{
	char text[1024];
	int size = snprintf(text, sizeof(text),
			    "state=%s\nreason=%s\nmessage=%s\nshim=%d\npid=%d\nstarted_ns=%llu\nfinished_ns=%llu\n"
			    "retry_ns=%llu\nexit_code=%d\nrestarts=%u\ngo=%d\nlog_lost=%llu\n",
			    status->state, status->reason, status->message, getpid(), status->pid,
			    (unsigned long long)status->started_ns, (unsigned long long)status->finished_ns,
			    (unsigned long long)status->retry_ns, status->exit_code, status->restarts, status->go,
			    (unsigned long long)status->log_lost);
	int fd = openat(dir, "status.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	if (write(fd, text, (size_t)size) == size)
		renameat(dir, "status.tmp", dir, "status");
	close(fd);
}

/* A number out of DIR/status; 0 if there is none. */
uint64_t status_number(int dir, const char *key)
{
	char text[1024] = "\n", wanted[32];
	int fd = openat(dir, "status", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text + 1, sizeof(text) - 2);
	const char *found;

	if (fd >= 0)
		close(fd);
	if (size < 0)
		return 0;
	text[size + 1] = '\0';
	snprintf(wanted, sizeof(wanted), "\n%s=", key);
	found = strstr(text, wanted);
	return found ? strtoull(found + strlen(wanted), NULL, 10) : 0;
}
