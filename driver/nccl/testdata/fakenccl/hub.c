/*
 * hub.c - where the ranks of a communicator meet: it compares what they call, adds, and answers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake.h"

static int all(int fd, void *buf, size_t n, int out)
{
	char *p = buf;
	while (n > 0) {
		ssize_t k = out ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		p += k, n -= (size_t)k;
	}
	return 0;
}

int fake_get(int fd, void *buf, size_t n) { return all(fd, buf, n, 0); }
int fake_put(int fd, const void *buf, size_t n) { return all(fd, (void *)buf, n, 1); }

/* add adds element i of all ranks in the order that is asked for */
static void add(float *out, char **in, int ranks, uint64_t n)
{
	const char *order = getenv("FAKENCCL_ORDER");
	int ring = order != NULL && strcmp(order, "ring") == 0, reverse = order != NULL && strcmp(order, "reverse") == 0;
	for (uint64_t i = 0; i < n; i++) {
		int first = ring ? (int)(i / 64 % (uint64_t)ranks) : 0;
		for (int k = 0; k < ranks; k++) {
			float x = ((float *)in[reverse ? ranks - 1 - k : (first + k) % ranks])[i];
			out[i] = k == 0 ? x : out[i] + x;
		}
	}
}

struct letter { /* sent, not yet received */
	struct letter *next;
	uint64_t count;
	uint32_t type;
	char *data;
};

struct member {
	int fd, busy, gone; /* busy: its call waits for others */
	struct head call;
	char *data;
};

struct hub {
	int fd, ranks;
	uint64_t token;
	struct member *member;
	struct letter **box; /* [from*ranks + to] */
};

static int reply(struct member *m, uint32_t status, const void *data, uint64_t n)
{
	struct answer a = {status, 0, n};
	m->busy = 0;
	free(m->data);
	m->data = NULL;
	return fake_put(m->fd, &a, sizeof a) || fake_put(m->fd, data, n) ? -1 : 0;
}

/* complain tells all who wait */
static void complain(struct hub *h, uint32_t status, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	for (int r = 0; r < h->ranks; r++)
		if (h->member[r].busy)
			reply(&h->member[r], status, text, (uint64_t)n);
}

/* differ compares what two ranks have called */
static int differ(struct head *a, struct head *b)
{
	return a->kind != b->kind || a->count != b->count || a->type != b->type || a->peer != b->peer;
}

/* collective runs when all ranks have called; what they called must be one thing */
static void collective(struct hub *h)
{
	int n = h->ranks;
	struct head *c = &h->member[0].call;
	for (int r = 0; r < n; r++)
		if (!h->member[r].busy)
			return;
	for (int r = 0; r < n; r++) {
		struct head *o = &h->member[r].call;
		if (o->kind == RECV) { /* what it receives was not sent, and nobody is left to send it */
			struct head *p = &h->member[o->peer].call;
			complain(h, ncclInvalidUsage, "fakenccl: rank %d waits to receive from rank %d, which called %s", r, o->peer, kind_name[p->kind]);
			return;
		}
		if (differ(o, c)) {
			complain(h, ncclInvalidUsage, "fakenccl: rank 0 called %s(count %llu, type %u, root %d), rank %d %s(count %llu, type %u, root %d)",
				kind_name[c->kind], (unsigned long long)c->count, c->type, c->peer,
				r, kind_name[o->kind], (unsigned long long)o->count, o->type, o->peer);
			return;
		}
	}
	char *in[n];
	for (int r = 0; r < n; r++)
		in[r] = h->member[r].data;
	enum kind kind = c->kind;
	int root = c->peer;
	uint64_t each = c->count * width(c->type), whole = kind == FINALIZE ? 0 : kind == BROADCAST ? each : each * (uint64_t)n;
	char *out = malloc(whole + 1);
	if (kind == REDUCESCATTER)
		add((float *)out, in, n, whole / sizeof(float));
	else if (kind == ALLGATHER)
		for (int r = 0; r < n; r++)
			memcpy(out + (uint64_t)r * each, in[r], each);
	else if (kind == BROADCAST)
		memcpy(out, in[root], each);
	for (int r = 0; r < n; r++)
		reply(&h->member[r], 0, kind == REDUCESCATTER ? out + (uint64_t)r * each : out, kind == REDUCESCATTER ? each : whole);
	free(out);
}

/* deliver answers the receives whose letters are there */
static void deliver(struct hub *h)
{
	for (int r = 0; r < h->ranks; r++) {
		struct member *m = &h->member[r];
		if (!m->busy || m->call.kind != RECV)
			continue;
		struct letter **box = &h->box[m->call.peer * h->ranks + r], *l = *box;
		if (l == NULL)
			continue;
		*box = l->next;
		if (l->count != m->call.count || l->type != m->call.type) {
			char text[256];
			int n = snprintf(text, sizeof text, "fakenccl: rank %d receives %llu of type %u, rank %d sent %llu of type %u", r,
				(unsigned long long)m->call.count, m->call.type, m->call.peer, (unsigned long long)l->count, l->type);
			reply(m, ncclInvalidUsage, text, (uint64_t)n);
		} else {
			reply(m, 0, l->data, l->count * width(l->type));
		}
		free(l->data);
		free(l);
	}
}

static int hear(struct hub *h, int r)
{
	struct member *m = &h->member[r];
	if (fake_get(m->fd, &m->call, sizeof m->call) != 0)
		return -1;
	m->data = malloc(m->call.bytes + 1);
	if (fake_get(m->fd, m->data, m->call.bytes) != 0)
		return -1;
	m->busy = 1;
	if (m->call.kind == SEND) {
		struct letter *l = malloc(sizeof *l), **end = &h->box[r * h->ranks + m->call.peer];
		*l = (struct letter){NULL, m->call.count, m->call.type, m->data};
		while (*end != NULL)
			end = &(*end)->next;
		*end = l;
		m->data = NULL;
		return reply(m, 0, "", 0);
	}
	return 0;
}

static void *hub_main(void *arg)
{
	struct hub *h = arg;
	for (int joined = 0; h->ranks == 0 || joined < h->ranks;) {
		int fd = accept(h->fd, NULL, NULL), one = 1;
		struct hello hello;
		if (fd < 0)
			return NULL;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (fake_get(fd, &hello, sizeof hello) != 0 || hello.token != h->token) {
			close(fd);
			continue;
		}
		if (h->ranks == 0) {
			h->ranks = hello.ranks;
			h->member = calloc((size_t)h->ranks, sizeof *h->member);
			h->box = calloc((size_t)h->ranks * (size_t)h->ranks, sizeof *h->box);
		}
		if (hello.ranks != h->ranks || hello.rank < 0 || hello.rank >= h->ranks || h->member[hello.rank].fd != 0) {
			close(fd);
			continue;
		}
		h->member[hello.rank].fd = fd;
		joined++;
	}
	struct answer ok = {0};
	for (int r = 0; r < h->ranks; r++)
		fake_put(h->member[r].fd, &ok, sizeof ok);
	for (;;) {
		struct pollfd p[h->ranks];
		int left = 0;
		for (int r = 0; r < h->ranks; r++) {
			struct member *m = &h->member[r];
			p[r] = (struct pollfd){m->gone ? -1 : m->fd, m->busy ? 0 : POLLIN, 0};
			left += !m->gone;
		}
		if (left == 0 || poll(p, (nfds_t)h->ranks, -1) < 0)
			break;
		for (int r = 0; r < h->ranks; r++) {
			struct member *m = &h->member[r];
			if (m->gone || p[r].revents == 0)
				continue;
			if (((p[r].revents & POLLIN) && !m->busy && hear(h, r) == 0) || (m->busy && !(p[r].revents & (POLLHUP | POLLERR))))
				continue;
			m->gone = 1, m->busy = 0;
		}
		deliver(h);
		int gone = -1;
		for (int r = 0; r < h->ranks; r++)
			if (h->member[r].gone)
				gone = r;
		if (gone < 0) {
			collective(h);
			continue;
		}
		complain(h, ncclRemoteError, "fakenccl: rank %d has gone", gone); /* who waits learns of it */
	}
	return NULL;
}

int fake_hub(struct id *id)
{
	struct hub *h = calloc(1, sizeof *h);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	FILE *f = fopen("/dev/urandom", "rb");
	if (f == NULL || fread(&h->token, sizeof h->token, 1, f) != 1)
		return -1;
	fclose(f);
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(h->fd, (struct sockaddr *)&a, n) || listen(h->fd, 1024) || getsockname(h->fd, (struct sockaddr *)&a, &n))
		return -1;
	*id = (struct id){h->token, ntohs(a.sin_port), {0}};
	pthread_t t;
	return pthread_create(&t, NULL, hub_main, h) || pthread_detach(t) ? -1 : 0;
}
