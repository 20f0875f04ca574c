/* The first process of a guest kernel. It loads the modules that the initrd brought, mounts the host's root folder
 * read-only over 9p, runs boot.sh in it with its output on the second serial line, reports the exit code there and
 * switches the machine off. From the kernel's command line: WEFT_TOKEN (marks the report), WEFT_BOOT (path of boot.sh).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void stop(void)
{
	sync();
	reboot(RB_POWER_OFF);
}

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	printf("guest init: %s: %s\n", what, strerror(errno));
	stop();
}

static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/modules", "r");

	need(list ? 0 : -1, "/modules");
	while (fgets(name, sizeof(name), list)) {
		int fd;

		name[strcspn(name, "\n")] = 0;
		fd = open(name, O_RDONLY);
		need(fd, name);
		if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
			need(-1, name);
		close(fd);
	}
	fclose(list);
}

static void copy(const char *from, const char *to)
{
	char block[65536];
	ssize_t size;
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0755);

	need(in, from);
	need(out, to);
	while ((size = read(in, block, sizeof(block))) > 0)
		need(write(out, block, size) == size ? 0 : -1, to);
	close(in);
	close(out);
}

/* The second serial line, raw: what the command prints arrives byte for byte. */
static int open_line(void)
{
	struct termios raw;
	int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY);

	need(fd, "/dev/ttyS1");
	tcgetattr(fd, &raw);
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	tcsetattr(fd, TCSANOW, &raw);
	return fd;
}

static int run_boot_script(int line)
{
	char *const arguments[] = {"/bin/sh", getenv("WEFT_BOOT"), NULL};
	int status = 0;
	pid_t pid = fork(), ended;

	need(pid, "fork");
	if (!pid) {
		setsid();
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(line, 1);
		dup2(line, 2);
		execv(arguments[0], arguments);
		_exit(127);
	}
	do
		ended = wait(&status);
	while (ended != pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	int line, code;

	mkdir("/dev", 0755);
	mkdir("/host", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL); /* the kernel may have done it */
	load_modules();
	need(mount("host", "/host", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"), "9p");
	need(mount("run", "/host/run", "tmpfs", 0, "mode=755"), "/run");
	copy("/command", "/host/run/command");
	need(mount("/dev", "/host/dev", NULL, MS_MOVE, NULL), "/dev");
	need(chdir("/host"), "/host");
	/* Over the initrd's own root: who joins a mount namespace finds himself at its root, not in a chroot. */
	need(mount(".", "/", NULL, MS_MOVE, NULL), "move the root");
	need(chroot("."), "chroot");
	line = open_line();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/tmp", 1);
	code = run_boot_script(line);
	dprintf(line, "\n%s exit %d\n", getenv("WEFT_TOKEN"), code);
	tcdrain(line);
	stop();
	return 0;
}
