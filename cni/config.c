/* Reads two strings from a JSON object. It accepts more than JSON, and never reads past the text: whether it is JSON,
 * the agent says. */
#include "cni.h"

#include <string.h>

struct reader {
	const char *at, *end;
};

static int peek(struct reader *in)
{
	while (in->at < in->end && memchr(" \t\r\n", *in->at, 4))
		in->at++;
	return in->at < in->end ? (unsigned char)*in->at : -1;
}

/* The raw inside of a string, escapes and all; false if it does not end. */
static bool string(struct reader *in, struct reader *inside)
{
	if (peek(in) != '"')
		return false;
	inside->at = ++in->at;
	for (; in->at < in->end && *in->at != '"'; in->at++)
		if (*in->at == '\\' && ++in->at == in->end)
			return false;
	if (in->at == in->end)
		return false;
	inside->end = in->at++;
	return true;
}

/* Past one value of any kind. */
static bool skip(struct reader *in)
{
	struct reader inside;
	size_t depth = 0;

	do {
		int c = peek(in);

		if (c < 0)
			return false;
		if (c == '"') {
			if (!string(in, &inside))
				return false;
			continue;
		}
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && depth-- == 0)
			return false;
		in->at++;
		if (!depth && c != '}' && c != ']')
			while (in->at < in->end && !memchr(",]} \t\r\n", *in->at, 7))
				in->at++;
	} while (depth);
	return true;
}

/* Copies what a string says; false if it is too long or has an escape that neither a path nor a version needs. */
static bool decode(struct reader inside, char *to, size_t size)
{
	size_t used = 0;

	while (inside.at < inside.end) {
		char c = *inside.at++;

		bool escaped = c == '\\';

		if (escaped)
			c = *inside.at++; /* string() saw to it that there is one */
		if (used + 1 == size || (unsigned char)c < ' ' || (escaped && !memchr("\"\\/", c, 3))) {
			*to = 0;
			return false;
		}
		to[used++] = c;
	}
	to[used] = 0;
	return true;
}

static bool is(const struct reader *key, const char *name)
{
	return (size_t)(key->end - key->at) == strlen(name) && !memcmp(key->at, name, strlen(name));
}

static const char *member(struct reader *in, struct config *config)
{
	struct reader key, value;
	bool socket, version;

	if (!string(in, &key) || peek(in) != ':')
		return "not a JSON object";
	in->at++;
	socket = is(&key, "socket");
	version = is(&key, "cniVersion");
	if (!socket && !version)
		return skip(in) ? NULL : "not a JSON object";
	if (!string(in, &value))
		return socket ? "\"socket\" is not a string" : "\"cniVersion\" is not a string";
	if (socket && !decode(value, config->socket, sizeof(config->socket)))
		return "\"socket\": not a path of at most 107 bytes";
	if (version && !decode(value, config->version, sizeof(config->version)))
		return "\"cniVersion\": not a version";
	return NULL;
}

const char *config_read(const char *text, size_t size, struct config *config)
{
	struct reader in = {text, text + size};

	if (peek(&in) != '{')
		return "not a JSON object";
	in.at++;
	if (peek(&in) == '}')
		return NULL;
	while (1) {
		const char *wrong = member(&in, config);
		int c = peek(&in);

		if (wrong || c == '}')
			return wrong;
		if (c != ',')
			return "not a JSON object";
		in.at++;
	}
}
