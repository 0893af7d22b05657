/*
 * comm.c - NCCL's calls on the side of a rank: a thread of each communicator sends them to the
 * hub, one after another, and puts the answers where they belong.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake.h"

#define EXPORT __attribute__((visibility("default")))

/* ---- device memory ---- */

static struct {
	int (*ctx_get)(void **), (*ctx_set)(void *), (*sync)(void *);
	int (*in)(unsigned long long, const void *, size_t, void *), (*out)(void *, unsigned long long, size_t, void *);
} cuda;
static pthread_once_t cuda_once = PTHREAD_ONCE_INIT;

static void cuda_find(void)
{
	const char *name = getenv("DATAFLEX_LIBCUDA");
	void *lib = name != NULL && *name != 0 && strcmp(name, "none") != 0 ? dlopen(name, RTLD_NOW | RTLD_LOCAL) : dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	if (lib == NULL)
		return;
	*(void **)&cuda.ctx_get = dlsym(lib, "cuCtxGetCurrent");
	*(void **)&cuda.ctx_set = dlsym(lib, "cuCtxSetCurrent");
	*(void **)&cuda.sync = dlsym(lib, "cuStreamSynchronize");
	*(void **)&cuda.in = dlsym(lib, "cuMemcpyHtoDAsync_v2");
	*(void **)&cuda.out = dlsym(lib, "cuMemcpyDtoHAsync_v2");
}

static int fetch(void *host, const void *dev, size_t n, void *stream)
{
	if (cuda.out == NULL) {
		memcpy(host, dev, n);
		return 0;
	}
	return cuda.out(host, (unsigned long long)(uintptr_t)dev, n, stream) || (cuda.sync != NULL && cuda.sync(stream));
}

static int place(void *dev, const void *host, size_t n, void *stream)
{
	if (cuda.in == NULL) {
		memcpy(dev, host, n);
		return 0;
	}
	return cuda.in((unsigned long long)(uintptr_t)dev, host, n, stream) || (cuda.sync != NULL && cuda.sync(stream));
}

/* ---- a rank ---- */

struct task {
	struct task *next;
	struct head head;
	char *data;
	void *out, *stream, *ctx;
	uint64_t out_bytes;
};

struct ncclComm {
	int fd, ranks, rank, blocking;
	uint16_t port;
	uint64_t token;
	pthread_mutex_t lock;
	pthread_cond_t change;
	struct task *queue, **end;
	int working, quit; /* working counts the join, too */
	ncclResult_t state;
	char text[512];
	pthread_t thread;
};

static char last[512]; /* of the process, as in NCCL: a Go caller asks from any of its threads */
static __thread int depth;
static __thread struct { struct ncclComm *comm; struct task *task; } group[4096];
static __thread int grouped;

static void note(const char *format, ...)
{
	const char *name = getenv("FAKENCCL_LOG");
	if (name == NULL)
		return;
	FILE *f = fopen(name, "a");
	if (f == NULL)
		return;
	va_list ap;
	va_start(ap, format);
	vfprintf(f, format, ap);
	va_end(ap);
	fclose(f);
}

static void fail(struct ncclComm *c, ncclResult_t e, const char *text)
{
	pthread_mutex_lock(&c->lock);
	if (c->state == ncclSuccess) {
		c->state = e;
		snprintf(c->text, sizeof c->text, "%s", text);
	}
	pthread_mutex_unlock(&c->lock);
}

static int run(struct ncclComm *c, struct task *t)
{
	struct answer a;
	if (fake_put(c->fd, &t->head, sizeof t->head) || fake_put(c->fd, t->data, t->head.bytes) || fake_get(c->fd, &a, sizeof a)) {
		fail(c, ncclRemoteError, "fakenccl: the process that made the ID has gone");
		return -1;
	}
	char *data = malloc(a.bytes + 1);
	data[a.bytes] = 0;
	int bad = fake_get(c->fd, data, a.bytes);
	if (bad)
		fail(c, ncclRemoteError, "fakenccl: the process that made the ID has gone");
	else if (a.status != 0)
		fail(c, (ncclResult_t)a.status, data), bad = 1;
	else if (a.bytes != t->out_bytes)
		fail(c, ncclInternalError, "fakenccl: another number of bytes came back"), bad = 1;
	else if (a.bytes > 0 && place(t->out, data, a.bytes, t->stream))
		fail(c, ncclUnhandledCudaError, "fakenccl: the result could not be copied to the device"), bad = 1;
	free(data);
	return bad ? -1 : 0;
}

static int join_hub(struct ncclComm *c)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct hello hello = {c->token, c->ranks, c->rank};
	struct answer ok;
	int one = 1;
	if (connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
		return -1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fake_put(c->fd, &hello, sizeof hello) || fake_get(c->fd, &ok, sizeof ok);
}

static void *rank_main(void *arg)
{
	struct ncclComm *c = arg;
	if (join_hub(c) != 0)
		fail(c, ncclRemoteError, "fakenccl: no hub answers");
	pthread_mutex_lock(&c->lock);
	c->working = 0;
	pthread_cond_broadcast(&c->change);
	for (;;) {
		while (c->queue == NULL && !c->quit)
			pthread_cond_wait(&c->change, &c->lock);
		struct task *t = c->queue;
		if (t == NULL)
			break;
		c->queue = t->next;
		if (c->queue == NULL)
			c->end = &c->queue;
		c->working = 1;
		int good = c->state == ncclSuccess;
		pthread_mutex_unlock(&c->lock);
		if (good) {
			if (t->ctx != NULL && cuda.ctx_set != NULL)
				cuda.ctx_set(t->ctx);
			run(c, t);
		}
		free(t->data);
		free(t);
		pthread_mutex_lock(&c->lock);
		c->working = 0;
		pthread_cond_broadcast(&c->change);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static ncclResult_t state(struct ncclComm *c, int wait)
{
	pthread_mutex_lock(&c->lock);
	while (wait && (c->working || c->queue != NULL))
		pthread_cond_wait(&c->change, &c->lock);
	ncclResult_t e = c->state != ncclSuccess ? c->state : c->working || c->queue != NULL ? ncclInProgress : ncclSuccess;
	if (e != ncclSuccess && e != ncclInProgress)
		snprintf(last, sizeof last, "%s", c->text);
	pthread_mutex_unlock(&c->lock);
	return e;
}

static void push(struct ncclComm *c, struct task *t)
{
	pthread_mutex_lock(&c->lock);
	*c->end = t;
	c->end = &t->next;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
}

static ncclResult_t submit(struct ncclComm *c, enum kind kind, const void *in, uint64_t in_count, void *out, uint64_t out_count,
	uint64_t count, uint32_t type, int peer, void *stream)
{
	if (c == NULL || width(type) == 0) {
		snprintf(last, sizeof last, "fakenccl: %s: no communicator, or no such type", kind_name[kind]);
		return ncclInvalidArgument;
	}
	note("rank %d %s count %llu type %u peer %d group %d\n", c->rank, kind_name[kind], (unsigned long long)count, type, peer, depth);
	struct task *t = calloc(1, sizeof *t);
	t->head = (struct head){kind, type, peer, 0, count, in_count * width(type)};
	t->data = malloc(t->head.bytes + 1);
	t->out = out, t->out_bytes = out_count * width(type), t->stream = stream;
	if (cuda.ctx_get != NULL)
		cuda.ctx_get(&t->ctx);
	if (t->head.bytes > 0 && fetch(t->data, in, t->head.bytes, stream)) {
		snprintf(last, sizeof last, "fakenccl: %s: the data could not be copied from the device", kind_name[kind]);
		return ncclUnhandledCudaError;
	}
	if (depth > 0) {
		group[grouped].comm = c, group[grouped++].task = t;
		return c->blocking ? ncclSuccess : ncclInProgress;
	}
	push(c, t);
	return state(c, c->blocking);
}

EXPORT ncclResult_t ncclGetVersion(int *version)
{
	const char *v = getenv("FAKENCCL_VERSION");
	*version = v != NULL ? atoi(v) : 21400;
	return ncclSuccess;
}

EXPORT ncclResult_t ncclGetUniqueId(ncclUniqueId *out)
{
	struct id id;
	if (fake_hub(&id) != 0)
		return ncclSystemError;
	memset(out, 0, sizeof *out);
	memcpy(out, &id, sizeof id);
	return ncclSuccess;
}

EXPORT ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n, ncclUniqueId u, int rank, void *config)
{
	struct dataflex_nccl_config *k = config;
	struct id id;
	if (k != NULL && (k->magic != DATAFLEX_NCCL_MAGIC || k->size < sizeof *k)) {
		snprintf(last, sizeof last, "fakenccl: the configuration was not initialised");
		return ncclInvalidArgument;
	}
	if (n < 1 || rank < 0 || rank >= n) {
		snprintf(last, sizeof last, "fakenccl: rank %d of %d", rank, n);
		return ncclInvalidArgument;
	}
	pthread_once(&cuda_once, cuda_find);
	memcpy(&id, &u, sizeof id);
	struct ncclComm *c = calloc(1, sizeof *c);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c->ranks = n, c->rank = rank, c->port = id.port, c->token = id.token, c->working = 1, c->end = &c->queue;
	c->blocking = k == NULL || k->blocking != 0;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->change, NULL);
	if (pthread_create(&c->thread, NULL, rank_main, c) != 0)
		return ncclSystemError;
	*comm = c;
	return state(c, c->blocking);
}

EXPORT ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *e)
{
	*e = state(c, 0);
	return ncclSuccess;
}

EXPORT ncclResult_t ncclReduceScatter(const void *in, void *out, size_t n, ncclDataType_t t, ncclRedOp_t op, ncclComm_t c, cudaStream_t s)
{
	if (t != ncclFloat32 || op != ncclSum) {
		snprintf(last, sizeof last, "fakenccl: it adds float32 alone");
		return ncclInvalidArgument;
	}
	return submit(c, REDUCESCATTER, in, n * (size_t)c->ranks, out, n, n, t, 0, s);
}

EXPORT ncclResult_t ncclAllGather(const void *in, void *out, size_t n, ncclDataType_t t, ncclComm_t c, cudaStream_t s)
{
	return submit(c, ALLGATHER, in, n, out, n * (size_t)c->ranks, n, t, 0, s);
}

EXPORT ncclResult_t ncclBroadcast(const void *in, void *out, size_t n, ncclDataType_t t, int root, ncclComm_t c, cudaStream_t s)
{
	return submit(c, BROADCAST, in, c->rank == root ? n : 0, out, n, n, t, root, s);
}

EXPORT ncclResult_t ncclSend(const void *in, size_t n, ncclDataType_t t, int peer, ncclComm_t c, cudaStream_t s)
{
	return submit(c, SEND, in, n, NULL, 0, n, t, peer, s);
}

EXPORT ncclResult_t ncclRecv(void *out, size_t n, ncclDataType_t t, int peer, ncclComm_t c, cudaStream_t s)
{
	return submit(c, RECV, NULL, 0, out, n, n, t, peer, s);
}

EXPORT ncclResult_t ncclGroupStart(void) { return depth++, ncclSuccess; }

EXPORT ncclResult_t ncclGroupEnd(void)
{
	if (--depth > 0)
		return ncclSuccess;
	ncclResult_t worst = ncclSuccess;
	for (int pass = 0; pass < 2; pass++) /* sends before receives: nobody waits for what was not sent */
		for (int i = 0; i < grouped; i++)
			if ((group[i].task->head.kind == RECV) == pass)
				push(group[i].comm, group[i].task);
	for (int i = 0; i < grouped; i++) {
		ncclResult_t e = state(group[i].comm, group[i].comm->blocking);
		if (e != ncclSuccess)
			worst = e;
	}
	grouped = 0;
	return worst;
}

EXPORT ncclResult_t ncclCommFinalize(ncclComm_t c) { return submit(c, FINALIZE, NULL, 0, NULL, 0, 0, ncclUint8, 0, NULL); }

static ncclResult_t end(struct ncclComm *c)
{
	pthread_mutex_lock(&c->lock);
	c->quit = 1;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
	shutdown(c->fd, SHUT_RDWR);
	pthread_join(c->thread, NULL);
	close(c->fd);
	free(c);
	return ncclSuccess;
}

EXPORT ncclResult_t ncclCommDestroy(ncclComm_t c) { return state(c, 1), end(c); }

EXPORT ncclResult_t ncclCommAbort(ncclComm_t c)
{
	fail(c, ncclInternalError, "aborted");
	return end(c);
}

EXPORT const char *ncclGetErrorString(ncclResult_t e)
{
	static const char *const text[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage", "remote process exited or there was a network error", "NCCL operation in progress"};
	return (unsigned)e < sizeof text / sizeof *text ? text[e] : "unknown result code";
}

EXPORT const char *ncclGetLastError(ncclComm_t c) { return (void)c, last; }
