/* The verbs, and what is said when the agent does not say it. Source: the CNI specification 1.1, "Execution Protocol".
 */
#include "cni.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/weft/cni.sock"
#define LATEST         "1.1.0"
#define CONFIG_MAX     (1 << 20)
#define ANSWER_MAX     (1 << 16)

static const struct verb {
	const char *name;
	int seconds; /* to wait for the agent; an ADD waits for the API server as well */
	int without; /* error code without an agent; 0: it goes on without */
	bool needs_netns;
} verbs[] = {
	{"ADD", 90, CNI_TRY_AGAIN, true},   {"DEL", 60, 0, false},
	{"CHECK", 30, CNI_TRY_AGAIN, true}, {"STATUS", 30, CNI_NOT_AVAILABLE, false},
	{"GC", 90, CNI_TRY_AGAIN, false},   {"VERSION", 0, 0, false},
};

static struct config config = {.socket = DEFAULT_SOCKET};
static char text[CONFIG_MAX + 1], answer[ANSWER_MAX];

/* As the inside of a JSON string. */
static void print(const char *words)
{
	for (; *words; words++)
		if (*words == '"' || *words == '\\')
			printf("\\%c", *words);
		else
			putchar(isprint((unsigned char)*words) ? *words : '?');
}

static const char *version(void)
{
	return config.version[strspn(config.version, "0123456789.")] || !*config.version ? LATEST : config.version;
}

/* The specification's error object; the message is `what`, and `about` if that is given. */
__attribute__((noreturn)) static void fail(int code, const char *what, const char *about)
{
	printf("{\"cniVersion\": \"%s\", \"code\": %d, \"msg\": \"weft: ", version(), code);
	print(what);
	if (about) {
		fputs(": ", stdout);
		print(about);
	}
	puts("\"}");
	exit(1);
}

static const struct verb *verb(void)
{
	const char *command = getenv("CNI_COMMAND");

	if (!command)
		fail(CNI_ENVIRONMENT, "CNI_COMMAND is not set; a container runtime starts this program", NULL);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(command, verbs[i].name))
			return &verbs[i];
	fail(CNI_ENVIRONMENT, "CNI_COMMAND is none of ADD, DEL, CHECK, STATUS, GC, VERSION", command);
}

static size_t read_input(void)
{
	size_t used = 0;
	ssize_t got;

	while ((got = read(STDIN_FILENO, text + used, sizeof(text) - used)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			fail(CNI_IO, "the network configuration on standard input", strerror(errno));
		used += (size_t)got;
		if (used > CONFIG_MAX)
			fail(CNI_IO, "the network configuration is larger than 1 MiB", NULL);
	}
	return used;
}

static int open_netns(void)
{
	const char *path = getenv("CNI_NETNS");
	int fd;

	if (!path || !*path)
		fail(CNI_ENVIRONMENT, "CNI_NETNS is not set", NULL);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fail(CNI_ENVIRONMENT, "CNI_NETNS cannot be opened", strerror(errno));
	return fd;
}

/* A container's and an interface's name, checked by the specification's rules: they become the name of a file. */
static void names(const char **container, const char **interface)
{
	*container = getenv("CNI_CONTAINERID");
	*interface = getenv("CNI_IFNAME");
	if (!*container || !isalnum((unsigned char)**container))
		fail(CNI_ENVIRONMENT, "CNI_CONTAINERID does not begin with a letter or digit", NULL);
	for (const char *c = *container; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("_.-", *c))
			fail(CNI_ENVIRONMENT, "CNI_CONTAINERID: only letters, digits, _, . and - may be in it", NULL);
	if (!*interface || !**interface || strlen(*interface) > 15 || strpbrk(*interface, "/: \t\n\v\f\r"))
		fail(CNI_ENVIRONMENT, "CNI_IFNAME is no name of a device", NULL);
}

/* Without an agent a pod goes all the same. The next agent takes its network away, or one that has come since. */
static bool delete_later(const struct request *request)
{
	const char *container, *interface;

	names(&container, &interface);
	if (!agent_leave_note(request->socket, container, interface))
		fail(CNI_TRY_AGAIN, "the agent does not answer, and no note can be left for it", strerror(errno));
	return agent_ask(request, answer, sizeof(answer));
}

/* ADD and CHECK bring lo up; what else may be asked is done already. Needs no agent. */
static int loopback(const struct verb *asked)
{
	const char *netns = getenv("CNI_NETNS");

	if (!asked->needs_netns)
		return 0;
	if (!loopback_up(open_netns()))
		fail(CNI_IO, "lo cannot be brought up in the pod's network namespace", strerror(errno));
	if (strcmp(asked->name, "ADD"))
		return 0;
	printf("{\"cniVersion\": \"%s\", \"interfaces\": [{\"name\": \"lo\", \"mac\": \"00:00:00:00:00:00\", "
	       "\"sandbox\": \"",
	       version());
	print(netns);
	printf("\"}], \"ips\": [{%s\"address\": \"127.0.0.1/8\", \"interface\": 0}, {%s\"address\": \"::1/128\", "
	       "\"interface\": 0}]}\n",
	       *version() == '0' ? "\"version\": \"4\", " : "", *version() == '0' ? "\"version\": \"6\", " : "");
	return 0;
}

static bool called(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');

	return !strcmp(slash ? slash + 1 : path, name);
}

int main(int count, char **words)
{
	const struct verb *asked = verb();
	size_t size = read_input();
	const char *wrong = config_read(text, size, &config);
	struct request request = {config.socket, text, size, -1, asked->seconds};

	if (!strcmp(asked->name, "VERSION")) {
		printf("{\"cniVersion\": \"%s\", \"supportedVersions\": [\"0.4.0\", \"1.0.0\", \"1.1.0\"]}\n",
		       version());
		return 0;
	}
	if (wrong)
		fail(CNI_DECODE, "the network configuration on standard input", wrong);
	if (count && called(*words, "loopback"))
		return loopback(asked);
	if (*config.socket != '/')
		fail(CNI_CONFIG, "\"socket\" in the network configuration is not an absolute path", config.socket);
	if (asked->needs_netns)
		request.netns = open_netns();
	if (!agent_ask(&request, answer, sizeof(answer))) {
		if (asked->without)
			fail(asked->without, "the agent of this node does not answer; is it running? (socket)",
			     config.socket);
		if (!delete_later(&request))
			return 0;
	}
	fputs(answer + 1, stdout);
	return *answer == '0' ? 0 : 1;
}
