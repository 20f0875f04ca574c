#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

struct supervisor {
	struct config config;
	struct status status;
	struct log log;
	int dir, control, signals;
	int output;        /* what the container writes; -1 = none runs */
	pid_t init;        /* its first process; 0 = none runs */
	bool failed_start; /* the command never ran; status.message says why */
	bool stopping, restarting;
	uint64_t began_ms, start_at, kill_at; /* 0 = not set */
	uint64_t backoff_ms;
};

static void say(struct supervisor *self, const char *state, const char *reason)
{
	self->status.state = state;
	self->status.reason = reason;
	self->status.log_lost = self->log.lost;
	status_write(self->dir, &self->status);
}

static void start(struct supervisor *self)
{
	int ends[2], errors;
	ssize_t size;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) || fcntl(ends[1], F_SETFL, 0))
		die("pipe: %m");
	self->start_at = 0;
	self->init = sandbox_start(&self->config, ends[1], &errors);
	close(ends[1]);
	self->output = ends[0];
	size = read(errors, self->status.message, sizeof(self->status.message) - 1);
	close(errors);
	self->status.message[size > 0 ? size : 0] = '\0';
	for (char *line_end; (line_end = strchr(self->status.message, '\n'));)
		*line_end = ' ';
	self->failed_start = size > 0;
	self->began_ms = clock_ms();
	self->status.pid = self->init;
	self->status.started_ns = clock_real_ns();
	self->status.retry_ns = 0;
	if (!self->failed_start)
		say(self, "Running", "");
}

/* Kubernetes' CrashLoopBackOff: the first restart at once, then after 10 s, 20 s, ... 300 s; a container that ran for
 * 10 minutes starts over (kubelet, "Container restart policy"). */
static void schedule(struct supervisor *self)
{
	uint64_t wait = self->backoff_ms;

	if (self->restarting || clock_ms() - self->began_ms >= self->config.backoff_reset_ms)
		wait = 0;
	self->backoff_ms = wait ? wait * 2 : self->config.backoff_ms;
	if (self->backoff_ms > self->config.backoff_max_ms)
		self->backoff_ms = self->config.backoff_max_ms;
	self->restarting = false;
	self->status.restarts++;
	self->start_at = clock_ms() + wait;
	self->status.retry_ns = clock_real_ns() + wait * 1000000;
	say(self, "Waiting", self->failed_start ? "StartError" : "CrashLoopBackOff");
}

static bool wants_restart(const struct supervisor *self)
{
	if (self->stopping)
		return false;
	if (self->restarting || self->config.restart == RESTART_ALWAYS)
		return true;
	return self->config.restart == RESTART_ON_FAILURE && self->status.exit_code;
}

static void finish(struct supervisor *self)
{
	const char *reason = self->status.exit_code ? "Error" : "Completed";

	say(self, "Terminated", self->failed_start ? "StartError" : reason);
	_exit(0);
}

static void close_output(struct supervisor *self)
{
	if (self->output >= 0)
		close(self->output);
	self->output = -1;
}

static void ended(struct supervisor *self, int status)
{
	struct pollfd more = {.fd = self->output, .events = POLLIN};

	/* All writers are gone, so what is left ends with an end of file. */
	while (self->output >= 0 && poll(&more, 1, 0) > 0 && log_pump(&self->log, self->output))
		;
	close_output(self);
	self->init = 0;
	self->kill_at = 0;
	self->status.pid = 0;
	self->status.finished_ns = clock_real_ns();
	self->status.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (wants_restart(self))
		schedule(self);
	else
		finish(self);
}

/* SIGTERM now, SIGKILL for the whole pid namespace after the grace period. */
static void terminate(struct supervisor *self, uint64_t grace_ms)
{
	uint64_t deadline = clock_ms() + grace_ms;

	if (!self->kill_at || deadline < self->kill_at)
		self->kill_at = deadline;
	if (grace_ms)
		kill(self->init, SIGTERM);
}

static void stop(struct supervisor *self, uint64_t grace_ms)
{
	self->stopping = true;
	if (!self->init)
		finish(self);
	terminate(self, grace_ms);
}

static void obey(struct supervisor *self, const char *word)
{
	unsigned long long grace_ms;

	if (!strcmp(word, "go") && !self->status.go) {
		self->status.go = true;
		start(self);
	} else if (!strcmp(word, "restart") && self->status.go) {
		self->restarting = true;
		if (self->init)
			terminate(self, self->config.grace_ms);
		else
			self->start_at = clock_ms();
	} else if (!strcmp(word, "stop")) {
		stop(self, self->config.grace_ms);
	} else if (sscanf(word, "stop %llu", &grace_ms) == 1) {
		stop(self, grace_ms);
	}
}

/* DIR/control, a FIFO: lines "go", "restart", "stop" and "stop MILLISECONDS". Writers send a line in one write. */
static void read_control(struct supervisor *self)
{
	char words[512], *rest;
	ssize_t size = read(self->control, words, sizeof(words) - 1);

	if (size <= 0)
		return;
	words[size] = '\0';
	for (char *word = strtok_r(words, "\n", &rest); word; word = strtok_r(NULL, "\n", &rest))
		obey(self, word);
}

static void read_signals(struct supervisor *self)
{
	struct signalfd_siginfo info;
	int status;

	while (read(self->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGTERM)
			stop(self, self->config.grace_ms);
	}
	if (self->init && waitpid(self->init, &status, WNOHANG) == self->init)
		ended(self, status);
}

static int milliseconds_left(const struct supervisor *self)
{
	uint64_t next = self->init ? self->kill_at : self->start_at, now = clock_ms();

	if (!next)
		return -1;
	return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now);
}

__attribute__((noreturn)) static void supervise(struct supervisor *self)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = self->control, .events = POLLIN},
			{.fd = self->signals, .events = POLLIN},
			{.fd = self->output, .events = POLLIN},
		};

		if (poll(fds, 3, milliseconds_left(self)) < 0 && errno != EINTR)
			die("poll: %m");
		if (fds[2].revents && !log_pump(&self->log, self->output))
			close_output(self); /* the command closed its side; it may live on */
		if (fds[1].revents)
			read_signals(self);
		if (fds[0].revents)
			read_control(self);
		if (self->init && self->kill_at && clock_ms() >= self->kill_at)
			kill(self->init, SIGKILL);
		if (!self->init && self->start_at && clock_ms() >= self->start_at)
			start(self);
	}
}

static void prepare(struct supervisor *self)
{
	sigset_t mask;

	if (mkfifoat(self->dir, "control", 0600) && errno != EEXIST)
		die("control: %m");
	/* Open for writing too: it never reads as closed. */
	self->control = openat(self->dir, "control", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (self->control < 0)
		die("control: %m");
	log_open(&self->log, self->dir, self->config.log_bytes);
	/* One that died here before was running: what follows is a restart. */
	self->status.restarts = (unsigned)(status_number(self->dir, "restarts") + status_number(self->dir, "go"));
	sigfillset(&mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGTERM);
	self->signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	if (self->signals < 0)
		die("signalfd: %m");
}

/* The rest of the supervisor's life. `answer` gets a "+" when it is ready, or one line that says why it is not. */
void run_supervisor(int dir, const struct config *config, int answer)
{
	static struct supervisor self = {.output = -1};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t ignored;

	self.dir = dir;
	self.config = *config;
	prepare(&self);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || chdir("/"))
		die("standard streams: %m");
	umask(022);
	say(&self, "Waiting", "ContainerCreating");
	/* Fails if the agent died meanwhile, which is no reason not to be there for the next one. */
	ignored = write(answer, "+", 1);
	(void)ignored;
	close(answer);
	report_fd = null;
	supervise(&self);
}
