/* Called as "loopback": the plugin by which container runtimes bring a pod's lo up before they call anybody else. */
#include "cni.h"

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

bool loopback_up(int netns)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK};
	int socket_fd, failed;

	if (setns(netns, CLONE_NEWNET) < 0)
		return false;
	socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (socket_fd < 0)
		return false;
	failed = ioctl(socket_fd, SIOCSIFFLAGS, &request);
	close(socket_fd);
	return !failed;
}
