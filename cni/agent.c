/* The way to the agent: a request and its answer over a unix socket (weft/cni/server.py), or a note for later. */
#include "cni.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Followed by the environment (NAME=value, each ends in NUL) and the network configuration. With it comes the
 * descriptor of the pod's network namespace, so that the agent need not see the runtime's file system. */
struct header {
	char magic[8];
	uint32_t environment, config; /* bytes */
};

static bool send_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		data += sent;
		size -= (size_t)sent;
	}
	return true;
}

static bool send_header(int fd, struct header *header, int netns)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {header, sizeof(*header)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (netns >= 0) {
		struct cmsghdr *rights;

		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(rights), &netns, sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof(*header);
}

static bool send_request(int fd, const struct request *request)
{
	struct header header = {{'w', 'e', 'f', 't', 'c', 'n', 'i', '1'}, 0, (uint32_t)request->config_size};

	for (char **one = environ; *one; one++)
		if (!strncmp(*one, "CNI_", 4))
			header.environment += (uint32_t)strlen(*one) + 1;
	if (!send_header(fd, &header, request->netns))
		return false;
	for (char **one = environ; *one; one++)
		if (!strncmp(*one, "CNI_", 4) && !send_all(fd, *one, strlen(*one) + 1))
			return false;
	return send_all(fd, request->config, request->config_size);
}

/* A whole answer ends in NUL; one without was not finished. */
static bool receive(int fd, char *answer, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t got = recv(fd, answer + used, size - used, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		used += (size_t)got;
		if (!answer[used - 1])
			return used > 1;
	}
	return false;
}

bool agent_ask(const struct request *request, char *answer, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = request->seconds};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done;

	if (fd < 0)
		return false;
	strncpy(address.sun_path, request->socket, sizeof(address.sun_path) - 1);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	done = !connect(fd, (struct sockaddr *)&address, sizeof(address)) && send_request(fd, request) &&
	       receive(fd, answer, size);
	close(fd);
	return done;
}

bool agent_leave_note(const char *socket, const char *container, const char *interface)
{
	char folder[PATH_SIZE], name[NAME_MAX + 1];
	int directory, note;

	if (snprintf(name, sizeof(name), "%s.%s", container, interface) >= (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		return false;
	}
	snprintf(folder, sizeof(folder), "%s", socket);
	*strrchr(folder, '/') = 0;
	mkdir(folder, 0755); /* gone with the machine's last start, perhaps */
	directory = open(*folder ? folder : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return false;
	mkdirat(directory, "cni-deleted", 0700);
	directory = openat(directory, "cni-deleted", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0)
		return false;
	note = openat(directory, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600); /* empty, so whole at once */
	return note >= 0;
}
