#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "shim.h"

/* Its lock on DIR/lock says that a supervisor lives there. The agent may pass it on, already taken, so that there is
 * no moment between the decision to start one and the one that runs. */
static void hold_lock(const char *path, int fd)
{
	int dir = open_dir(path);

	if (fd < 0)
		fd = openat(dir, "lock", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		die("%s/lock: %m; another supervisor has it", path);
	/* Number 3, and nothing else of the caller's but the standard streams. */
	if (fd == 3 ? fcntl(fd, F_SETFD, FD_CLOEXEC) : dup3(fd, 3, O_CLOEXEC) < 0)
		die("%s/lock: %m", path);
	close_range(4, ~0U, 0);
}

/* Twice a child, so that it has neither the agent nor a terminal above it. */
static void daemonize(int *answer, const char *cgroup)
{
	pid_t pid = fork();

	if (pid > 0) {
		char text[512];
		ssize_t size;

		close(answer[1]);
		size = read(answer[0], text, sizeof(text) - 1);
		if (size > 0 && text[0] == '+')
			_exit(0);
		text[size > 0 ? size : 0] = '\0';
		die("%s", size > 0 ? text : "the supervisor died at its start");
	}
	close(answer[0]);
	report_fd = answer[1];
	if (pid < 0 || setsid() < 0)
		die("fork: %m");
	if (fork_into(open_dir(cgroup)) > 0)
		_exit(0);
}

int run_main(int argc, char **argv)
{
	const char *path = NULL;
	static struct config config;
	int answer[2], dir, lock = -1;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--dir"))
			path = argv[i + 1];
		else if (!strcmp(argv[i], "--lock-fd"))
			lock = atoi(argv[i + 1]);
		else
			die("weft-shim run: %s: unknown option", argv[i]);
	}
	if (!path)
		die("weft-shim run: --dir is needed");
	hold_lock(path, lock);
	dir = open_dir(path);
	config_read(dir, &config);
	if (pipe2(answer, O_CLOEXEC))
		die("pipe: %m");
	daemonize(answer, config.cgroup);
	run_supervisor(dir, &config, answer[1]);
}
