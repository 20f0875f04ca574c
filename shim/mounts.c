#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim.h"

#define QUIET (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void mount_at(const char *type, const char *target, unsigned long flags, const char *options)
{
	if (mount(type, target, type, flags, options))
		die("mount %s on %s: %m", type, target);
}

static bool below(const char *path, const char *folder)
{
	size_t length = strlen(folder);

	return !strncmp(path, folder, length) && (!path[length] || path[length] == '/');
}

/* Mounts through which the node could be reached or whose namespaces would live as long as this pod. */
static bool unwanted(const struct config *config, const char *path, const char *type)
{
	static const char *const types[] = {"bpf", "cgroup", "cgroup2", "debugfs", "nsfs", "securityfs", "tracefs"};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (!strcmp(type, types[i]))
			return true;
	}
	for (size_t i = 0; i < config->hidec; i++) {
		if (below(path, config->hide[i]))
			return true;
	}
	return below(path, "/sys") || below(path, "/dev") || below(path, "/proc");
}

/* /proc/self/mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++, to++) {
		*to = *text;
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		}
	}
	*to = '\0';
}

/* Oldest first: a mount takes those that lie below it along, and each umount2 waits for a grace period of RCU. Of
 * several on one path the topmost goes first, whichever of them the table named. */
static void detach_unwanted(const struct config *config)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, **paths = NULL;
	size_t room = 0, count = 0;

	if (!table)
		die("/proc/self/mountinfo: %m");
	while (getline(&line, &room, table) > 0) {
		char path[4096], type[64];
		char *separator = strstr(line, " - ");

		if (!separator || sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 ||
		    sscanf(separator, " - %63s", type) != 1)
			die("/proc/self/mountinfo: unexpected line: %s", line);
		unescape(path);
		if (!unwanted(config, path, type))
			continue;
		paths = need(realloc(paths, (count + 1) * sizeof(*paths)));
		paths[count++] = need(strdup(path));
	}
	free(line);
	fclose(table);
	for (size_t i = 0; i < count; i++) {
		/* EINVAL and ENOENT: it went with the mount that it was on. */
		if (umount2(paths[i], MNT_DETACH | UMOUNT_NOFOLLOW) && errno != EINVAL && errno != ENOENT)
			die("hide %s: %m", paths[i]);
		free(paths[i]);
	}
	free(paths);
}

static void device(const char *path, unsigned int major_number, unsigned int minor_number)
{
	if (mknod(path, S_IFCHR | 0666, makedev(major_number, minor_number)) || chmod(path, 0666))
		die("mknod %s: %m", path);
}

static void link_at(const char *target, const char *path)
{
	if (symlink(target, path))
		die("symlink %s: %m", path);
}

/* What a container finds in /dev everywhere (OCI runtime specification, default devices), and nothing else. */
static void mount_dev(void)
{
	mount_at("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k");
	device("/dev/null", 1, 3);
	device("/dev/zero", 1, 5);
	device("/dev/full", 1, 7);
	device("/dev/random", 1, 8);
	device("/dev/urandom", 1, 9);
	device("/dev/tty", 5, 0);
	if (mkdir("/dev/pts", 0755) || mkdir("/dev/shm", 0755))
		die("mkdir in /dev: %m");
	mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_at("tmpfs", "/dev/shm", QUIET, "mode=1777,size=64m");
	link_at("pts/ptmx", "/dev/ptmx");
	link_at("/proc/self/fd", "/dev/fd");
	link_at("/proc/self/fd/0", "/dev/stdin");
	link_at("/proc/self/fd/1", "/dev/stdout");
	link_at("/proc/self/fd/2", "/dev/stderr");
}

static void read_only(const char *path, unsigned long flags)
{
	if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL))
		die("make %s read-only: %m", path);
}

/* The same paths as Docker's and Kubernetes' default masks: no sysctl of the host is in a pod's reach. */
static void mount_proc(void)
{
	static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
	static const char *const hidden[] = {"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
					     "/proc/sched_debug"};
	static const char *const emptied[] = {"/proc/acpi", "/proc/asound", "/proc/scsi"};

	mount_at("proc", "/proc", QUIET, NULL);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++) {
		if (access(fixed[i], F_OK))
			continue;
		if (mount(fixed[i], fixed[i], NULL, MS_BIND | MS_REC, NULL))
			die("bind %s: %m", fixed[i]);
		read_only(fixed[i], QUIET);
	}
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
		if (!access(hidden[i], F_OK) && mount("/dev/null", hidden[i], NULL, MS_BIND, NULL))
			die("mask %s: %m", hidden[i]);
	}
	for (size_t i = 0; i < sizeof(emptied) / sizeof(*emptied); i++) {
		if (!access(emptied[i], F_OK))
			mount_at("tmpfs", emptied[i], MS_RDONLY | QUIET, "size=4k");
	}
}

/* Detached copies, taken before anything is hidden: a volume may lie in a hidden directory. */
static int *open_binds(const struct config *config)
{
	int *trees = need(calloc(config->bindc + 1, sizeof(*trees)));

	for (size_t i = 0; i < config->bindc; i++) {
		const struct bind_mount *bind = &config->binds[i];
		struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

		trees[i] = open_tree(AT_FDCWD, bind->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
		if (trees[i] < 0)
			die("volume %s: %m", bind->source);
		if (bind->readonly &&
		    mount_setattr(trees[i], "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)))
			die("volume %s: make read-only: %m", bind->source);
	}
	return trees;
}

/* Only below a hidden directory, which is the pod's own: the host's files are never added to. */
static void make_target(const struct config *config, const char *target)
{
	char path[4096];

	for (size_t i = 0; i < config->hidec; i++) {
		if (!below(target, config->hide[i]))
			continue;
		snprintf(path, sizeof(path), "%s/", target);
		for (char *slash = path + strlen(config->hide[i]) + 1; (slash = strchr(slash, '/')); slash++) {
			*slash = '\0';
			if (mkdir(path, 0755) && errno != EEXIST)
				die("mkdir %s: %m", path);
			*slash = '/';
		}
	}
}

static void place_binds(const struct config *config, int *trees)
{
	for (size_t i = 0; i < config->bindc; i++) {
		const char *target = config->binds[i].target;

		make_target(config, target);
		if (move_mount(trees[i], "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS))
			die("mount %s on %s: %m; the host's files are the image, so make it there first",
			    config->binds[i].source, target);
		close(trees[i]);
	}
	free(trees);
}

/* The container's view of the host's files: same root, own /proc, /sys and /dev, volumes in place, and nothing of
 * weft's, of the control groups and of the pinned maps. In a new mount namespace; must be in the pod's network
 * namespace (it decides what /sys shows). */
void mounts_private(const struct config *config)
{
	int *trees;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("make mounts private: %m");
	trees = open_binds(config);
	detach_unwanted(config);
	mount_at("sysfs", "/sys", MS_RDONLY | QUIET, NULL);
	mount_dev();
	mount_proc();
	for (size_t i = 0; i < config->hidec; i++) {
		if (!access(config->hide[i], F_OK))
			mount_at("tmpfs", config->hide[i], QUIET, "mode=755,size=64k");
	}
	place_binds(config, trees);
	for (size_t i = 0; i < config->hidec; i++) {
		if (!access(config->hide[i], F_OK))
			read_only(config->hide[i], QUIET);
	}
}
