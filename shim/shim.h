/* weft-shim: the supervisor of one container of a pod.
 *
 * It is the child of nobody (the agent may come and go), holds a lock on its directory while it lives, makes the
 * container's namespaces, waits for the word "go", starts the command, keeps its log, restarts it, and says in a
 * status file how it is. Everything that it is told stands in DIR/config, written before it starts. */
#ifndef WEFT_SHIM_H
#define WEFT_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- config.c: DIR/config, records "key=value" that end in NUL; a key that is not known is an error ------------- */

struct bind_mount {
	const char *source, *target;
	bool readonly;
};

enum restart_policy {
	RESTART_ALWAYS,
	RESTART_ON_FAILURE,
	RESTART_NEVER,
};

struct config {
	char **argv, **env, **hide; /* NULL-terminated */
	size_t argc, envc, hidec;
	struct bind_mount *binds;
	size_t bindc;
	const char *cwd, *netns, *cgroup, *hostname;
	uid_t uid;
	gid_t gid;
	uint64_t caps; /* bit per capability that the command may have */
	bool no_new_privs;
	enum restart_policy restart;
	uint64_t grace_ms, backoff_ms, backoff_max_ms, backoff_reset_ms, log_bytes;
};

void config_read(int dir, struct config *config);

/* ---- report.c ---------------------------------------------------------------------------------------------------- */

#define EXIT_SETUP 128 /* the command could not be started (Kubernetes' StartError) */

extern int report_fd;   /* where die() writes */
extern int report_exit; /* and what it exits with */

__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);
void *need(void *memory);
uint64_t clock_ms(void); /* CLOCK_BOOTTIME */
int open_dir(const char *path);

/* ---- sandbox.c, mounts.c ------------------------------------------------------------------------------------------
 */

pid_t fork_into(int cgroup);
pid_t sandbox_start(const struct config *config, int output, int *error_pipe);
void sandbox_drop(const struct config *config);
void sandbox_exec(const struct config *config, char **argv);
void mounts_private(const struct config *config);

/* ---- status.c, log.c ------------------------------------------------------------------------------------------------
 */

struct status {
	const char *state, *reason;
	char message[256];
	pid_t pid;                                  /* first process of the container, as the host counts; 0 = none */
	uint64_t started_ns, finished_ns, retry_ns; /* CLOCK_REALTIME */
	int exit_code;
	unsigned restarts;
	bool go;
	uint64_t log_lost; /* bytes of output that could not be written */
};

uint64_t clock_real_ns(void);
void status_write(int dir, const struct status *status);
uint64_t status_number(int dir, const char *key);

struct log {
	int dir, fd;
	uint64_t size, limit, lost;
};

void log_open(struct log *log, int dir, uint64_t limit);
bool log_pump(struct log *log, int from);

/* ---- launch.c, run.c, exec.c
 * --------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) void run_supervisor(int dir, const struct config *config, int answer);
int run_main(int argc, char **argv);
int exec_main(int argc, char **argv);

#endif
