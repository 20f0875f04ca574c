#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

static char *slurp(int dir, size_t *size)
{
	int fd = openat(dir, "config", O_RDONLY | O_CLOEXEC);
	struct stat info;
	char *text;

	if (fd < 0 || fstat(fd, &info))
		die("config: %m");
	*size = (size_t)info.st_size;
	text = need(malloc(*size + 1));
	for (size_t have = 0; have < *size;) {
		ssize_t got = read(fd, text + have, *size - have);

		if (got <= 0)
			die("config: cannot be read whole");
		have += (size_t)got;
	}
	text[*size] = '\0';
	close(fd);
	return text;
}

static uint64_t number(const char *key, const char *text, int base)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, base);
	if (errno || end == text || *end)
		die("config: %s=%s: expected a number", key, text);
	return value;
}

static void append(char ***list, size_t *count, char *value)
{
	*list = need(realloc(*list, (*count + 2) * sizeof(**list)));
	(*list)[(*count)++] = value;
	(*list)[*count] = NULL;
}

static enum restart_policy restart_policy(const char *value)
{
	if (!strcmp(value, "Always"))
		return RESTART_ALWAYS;
	if (!strcmp(value, "OnFailure"))
		return RESTART_ON_FAILURE;
	if (!strcmp(value, "Never"))
		return RESTART_NEVER;
	die("config: restart=%s: expected Always, OnFailure or Never", value);
}

/* bind=SOURCE starts a bind mount; target= and readonly= that follow belong to it. */
static bool set_bind(struct config *config, const char *key, const char *value)
{
	struct bind_mount *last = config->bindc ? &config->binds[config->bindc - 1] : NULL;

	if (!strcmp(key, "bind")) {
		config->binds = need(realloc(config->binds, (config->bindc + 1) * sizeof(*config->binds)));
		config->binds[config->bindc++] = (struct bind_mount){.source = value};
	} else if (last && !strcmp(key, "target")) {
		last->target = value;
	} else if (last && !strcmp(key, "readonly")) {
		last->readonly = number(key, value, 10);
	} else {
		return false;
	}
	return true;
}

static bool set_text(struct config *config, const char *key, char *value)
{
	if (!strcmp(key, "argv"))
		append(&config->argv, &config->argc, value);
	else if (!strcmp(key, "env"))
		append(&config->env, &config->envc, value);
	else if (!strcmp(key, "hide"))
		append(&config->hide, &config->hidec, value);
	else if (!strcmp(key, "cwd"))
		config->cwd = value;
	else if (!strcmp(key, "netns"))
		config->netns = value;
	else if (!strcmp(key, "cgroup"))
		config->cgroup = value;
	else if (!strcmp(key, "hostname"))
		config->hostname = value;
	else if (!strcmp(key, "restart"))
		config->restart = restart_policy(value);
	else
		return set_bind(config, key, value);
	return true;
}

static bool set_number(struct config *config, const char *key, const char *value)
{
	if (!strcmp(key, "uid"))
		config->uid = (uid_t)number(key, value, 10);
	else if (!strcmp(key, "gid"))
		config->gid = (gid_t)number(key, value, 10);
	else if (!strcmp(key, "caps"))
		config->caps = number(key, value, 16);
	else if (!strcmp(key, "no_new_privs"))
		config->no_new_privs = number(key, value, 10);
	else if (!strcmp(key, "grace_ms"))
		config->grace_ms = number(key, value, 10);
	else if (!strcmp(key, "backoff_ms"))
		config->backoff_ms = number(key, value, 10);
	else if (!strcmp(key, "backoff_max_ms"))
		config->backoff_max_ms = number(key, value, 10);
	else if (!strcmp(key, "backoff_reset_ms"))
		config->backoff_reset_ms = number(key, value, 10);
	else if (!strcmp(key, "log_bytes"))
		config->log_bytes = number(key, value, 10);
	else
		return false;
	return true;
}

void config_read(int dir, struct config *config)
{
	size_t size;
	char *text = slurp(dir, &size);

	*config = (struct config){.cwd = "/"};
	for (char *record = text; record < text + size; record += strlen(record) + 1) {
		char *value = strchr(record, '=');

		if (!value)
			die("config: %s: expected key=value", record);
		*value = '\0';
		if (!set_text(config, record, value + 1) && !set_number(config, record, value + 1))
			die("config: %s: not a known key", record);
		record = value + 1;
	}
	if (!config->argc || !config->netns || !config->cgroup || !config->hostname || !config->log_bytes)
		die("config: argv, netns, cgroup, hostname and log_bytes are needed");
	for (size_t i = 0; i < config->bindc; i++) {
		if (!config->binds[i].target)
			die("config: bind=%s: has no target", config->binds[i].source);
	}
	if (!config->env)
		config->env = need(calloc(1, sizeof(*config->env)));
}
