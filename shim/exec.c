#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "shim.h"

#define EXIT_CANNOT 126

struct options {
	const char *dir;
	bool input, terminal;
	char **argv;
};

static struct options parse(int argc, char **argv)
{
	struct options options = {0};
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--dir") && i + 1 < argc)
			options.dir = argv[++i];
		else if (!strcmp(argv[i], "-i"))
			options.input = true;
		else if (!strcmp(argv[i], "-t"))
			options.terminal = true;
		else
			die("weft-shim exec: %s: unknown option", argv[i]);
	}
	if (!options.dir || i + 1 >= argc)
		die("usage: weft-shim exec --dir DIR [-i] [-t] -- COMMAND [ARGUMENT...]");
	options.argv = argv + i + 1;
	return options;
}

static pid_t parent_of(pid_t pid)
{
	char path[64], text[512];
	int fd, parent = 0;
	ssize_t size;
	const char *after;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[size > 0 ? size : 0] = '\0';
	after = strrchr(text, ')'); /* the name before it may hold anything */
	if (!after || sscanf(after, ") %*c %d", &parent) != 1)
		return 0;
	return parent;
}

/* A handle on the container's first process. A number in a file proves nothing: the process behind the handle must be
 * the child of the supervisor that wrote it. */
static int container_pidfd(int dir)
{
	pid_t pid = (pid_t)status_number(dir, "pid"), shim = (pid_t)status_number(dir, "shim");
	int pidfd = pid && shim ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (pidfd < 0 || parent_of(pid) != shim)
		die("the container is not running");
	return pidfd;
}

/* Everything but the pid namespace, which is for children only. */
static void join(int pidfd)
{
	if (setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC))
		die("enter the container: %m");
}

static void copy_window(int to)
{
	struct winsize size;

	if (!ioctl(STDIN_FILENO, TIOCGWINSZ, &size))
		ioctl(to, TIOCSWINSZ, &size);
}

/* In the container: its own side of the terminal, or the caller's streams; then the command. */
static void child(const struct config *config, const struct options *options, const char *terminal)
{
	if (terminal) {
		int fd;

		setsid();
		fd = open(terminal, O_RDWR | O_CLOEXEC);
		if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) || dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			die("terminal %s: %m", terminal);
		if (fchown(fd, config->uid, config->gid))
			die("terminal %s: %m", terminal);
	} else if (!options->input) {
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (null < 0 || dup2(null, 0) < 0)
			die("/dev/null: %m");
	}
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	sandbox_drop(config);
	/* Last: a change of user clears it. A command must not outlive whoever asked for it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sandbox_exec(config, options->argv);
}

static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Moves bytes one way; false at the end or on an error. */
static bool copy(int from, int to)
{
	char bytes[4096];
	ssize_t size = read(from, bytes, sizeof(bytes));

	if (size < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	for (ssize_t done = 0; done < size;) {
		ssize_t put = write(to, bytes + done, (size_t)(size - done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		done += put;
	}
	return size > 0;
}

/* Relays until the command ends and its terminal is empty. Signals go on to the command. */
static int attend(pid_t pid, int signals, int terminal, bool input)
{
	static const char end_of_file = 4;
	struct signalfd_siginfo info;
	int status = 0;
	bool running = true;

	while (running || terminal >= 0) {
		struct pollfd fds[] = {
			{.fd = signals, .events = POLLIN},
			{.fd = terminal, .events = POLLIN},
			{.fd = input ? STDIN_FILENO : -1, .events = POLLIN},
		};

		if (poll(fds, 3, running ? -1 : 0) <= 0 && !running)
			break;
		while (fds[0].revents && read(signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo == SIGWINCH && terminal >= 0)
				copy_window(terminal);
			else if (info.ssi_signo != SIGCHLD && running)
				kill(pid, (int)info.ssi_signo);
		}
		if (running && waitpid(pid, &status, WNOHANG) == pid)
			running = false;
		if (fds[1].revents && !copy(terminal, STDOUT_FILENO))
			terminal = -1;
		if (fds[2].revents && !copy(STDIN_FILENO, terminal)) {
			input = false;
			if (terminal >= 0 && write(terminal, &end_of_file, 1) < 0)
				terminal = -1;
		}
	}
	return exit_code(status);
}

static int catch_signals(void)
{
	sigset_t mask;
	int fd;

	sigfillset(&mask);
	/* Job control stays the caller's shell's affair. */
	sigdelset(&mask, SIGTSTP);
	sigdelset(&mask, SIGTTIN);
	sigdelset(&mask, SIGTTOU);
	sigdelset(&mask, SIGPIPE);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		die("signalfd: %m");
	return fd;
}

int exec_main(int argc, char **argv)
{
	static struct config config;
	struct options options = parse(argc, argv);
	struct termios cooked, raw;
	const char *terminal = NULL;
	int dir, cgroup, signals, master = -1, code;
	bool restore = false;
	pid_t pid;

	report_exit = EXIT_CANNOT;
	dir = open_dir(options.dir);
	config_read(dir, &config);
	cgroup = open_dir(config.cgroup);
	join(container_pidfd(dir));
	if (options.terminal) {
		master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (master < 0 || unlockpt(master) || !(terminal = ptsname(master)))
			die("terminal: %m");
		copy_window(master);
		restore = options.input && !tcgetattr(STDIN_FILENO, &cooked);
	}
	signals = catch_signals();
	pid = fork_into(cgroup);
	if (!pid)
		child(&config, &options, terminal);
	if (restore) {
		raw = cooked;
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	code = attend(pid, signals, master, options.terminal && options.input);
	if (restore)
		tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
	return code;
}
