#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

/* A child that begins its life in a cgroup. To move a process there costs an RCU grace period, some 15 ms. */
pid_t fork_into(int cgroup)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		die("start in the pod's cgroup: %m");
	return pid;
}

/* Limits as the machine's first process has them, whatever the agent was started with. */
static void reset_limits(void)
{
	for (int resource = 0; resource < RLIMIT_NLIMITS; resource++) {
		struct rlimit own, first;

		if (getrlimit((__rlimit_resource_t)resource, &own) ||
		    prlimit(1, (__rlimit_resource_t)resource, NULL, &first))
			continue;
		if (own.rlim_max != RLIM_INFINITY && first.rlim_cur > own.rlim_max)
			first.rlim_cur = own.rlim_max;
		own.rlim_cur = first.rlim_cur;
		setrlimit((__rlimit_resource_t)resource, &own);
	}
}

static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void set_capabilities(uint64_t wanted)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)wanted, .permitted = (uint32_t)wanted},
		{.effective = (uint32_t)(wanted >> 32), .permitted = (uint32_t)(wanted >> 32)},
	};

	if (syscall(SYS_capset, &header, data))
		die("capabilities: %m; the agent itself must have those that a pod adds");
}

static void drop_bounding(uint64_t kept)
{
	for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (!(kept >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			die("drop capability %d: %m", cap);
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		die("clear ambient capabilities: %m");
}

/* The last things before exec, as the container's own user. */
void sandbox_drop(const struct config *config)
{
	drop_bounding(config->caps);
	if (setgroups(0, NULL) || setresgid(config->gid, config->gid, config->gid) ||
	    setresuid(config->uid, config->uid, config->uid))
		die("user %u, group %u: %m", config->uid, config->gid);
	if (!config->uid)
		set_capabilities(config->caps);
	if (config->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("no_new_privs: %m");
	reset_limits();
	umask(022);
}

/* Returns only by exec. Not found is 127 and not runnable 126, as in a shell. */
void sandbox_exec(const struct config *config, char **argv)
{
	if (chdir(config->cwd))
		die("working directory %s: %m", config->cwd);
	environ = config->env;
	reset_signals();
	execvp(argv[0], argv);
	if (report_exit != EXIT_SETUP)
		report_exit = errno == ENOENT ? 127 : 126;
	die("%s: %m", argv[0]);
}

static void command(const struct config *config, int output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		die("standard streams: %m");
	setsid();
	sandbox_drop(config);
	sandbox_exec(config, config->argv);
}

/* Waits for everything that has no parent; ends as the command ended, and the kernel ends the rest. */
static void reap(pid_t main_child)
{
	sigset_t all;
	int number, status;

	sigfillset(&all);
	for (;;) {
		pid_t pid;

		number = sigwaitinfo(&all, NULL);
		if (number > 0 && number != SIGCHLD)
			kill(main_child, number);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == main_child)
				_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		}
	}
}

/* First process of the container's pid namespace: sets the container up, then forwards signals and reaps. It keeps
 * nothing but CAP_KILL, may not be traced, and dies with the supervisor. */
static void first_process(const struct config *config, int output, int error_pipe)
{
	int netns = open(config->netns, O_RDONLY | O_CLOEXEC);
	struct pollfd reader = {.fd = error_pipe};
	pid_t child;

	report_fd = error_pipe;
	report_exit = EXIT_SETUP;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		die("PR_SET_PDEATHSIG: %m");
	if (poll(&reader, 1, 0) && reader.revents & POLLERR)
		_exit(EXIT_SETUP); /* the supervisor died before that */
	if (netns < 0 || setns(netns, CLONE_NEWNET))
		die("network namespace %s: %m", config->netns);
	if (sethostname(config->hostname, strlen(config->hostname)))
		die("hostname %s: %m", config->hostname);
	mounts_private(config);
	child = fork();
	if (child < 0)
		die("fork: %m");
	if (!child)
		command(config, output);
	setsid();
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	drop_bounding(0);
	set_capabilities(1ULL << CAP_KILL);
	close_range(0, ~0U, 0);
	reap(child);
}

/* Starts the container once. Its output goes to `output`; *error_pipe reads as empty when the command runs, else as
 * one line that says why it does not. */
pid_t sandbox_start(const struct config *config, int output, int *error_pipe)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		die("pipe: %m");
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		die("clone: %m");
	if (!pid) {
		close(ends[0]);
		first_process(config, output, ends[1]);
	}
	close(ends[1]);
	*error_pipe = ends[0];
	return pid;
}
