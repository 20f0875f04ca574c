/* weft-cni: what the container runtime starts to connect a pod (CNI 1.1), and nothing but a messenger.
 *
 * It hands its environment, its input and the pod's network namespace to the agent over a unix socket, and prints the
 * answer. It decides only what must be decided without the agent: VERSION, and what happens while there is none. */
#ifndef WEFT_CNI_H
#define WEFT_CNI_H

#include <stdbool.h>
#include <stddef.h>

/* Error codes of the specification ("Error"). */
enum {
	CNI_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_CONFIG = 7,
	CNI_TRY_AGAIN = 11,
	CNI_NOT_AVAILABLE = 50,
};

#define VERSION_SIZE 16
#define PATH_SIZE    108 /* sun_path */

/* What this program itself reads of the network configuration; the agent reads the rest. */
struct config {
	char version[VERSION_SIZE]; /* "cniVersion", empty if there is none */
	char socket[PATH_SIZE];     /* "socket" */
};

/* NULL, or what is wrong with the text. */
const char *config_read(const char *text, size_t size, struct config *config);

struct request {
	const char *socket, *config;
	size_t config_size;
	int netns;   /* descriptor, or -1 */
	int seconds; /* to wait for the answer */
};

/* The agent's answer in `answer`, which ends in NUL: a digit, '0' for success, and the text to print. False: there is
 * no agent, or it went away before it had answered. */
bool agent_ask(const struct request *request, char *answer, size_t size);

/* Brings lo up in the namespace behind the descriptor, for good: the process stays in it. False: errno says why. */
bool loopback_up(int netns);

/* Leaves word that a DEL came while there was no agent: it is finished by the next one. False: errno says why. */
bool agent_leave_note(const char *socket, const char *container, const char *interface);

#endif
