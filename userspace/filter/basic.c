#include "filter/basic.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "filter/base64.h"
#include "filter/password.h"
#include "http/field_edit.h"
#include "http/worker_internal.h"
#include "io/work_pool.h"

#define NAME_BYTES_MAX 256
#define PAIR_BYTES_MAX (NAME_BYTES_MAX + 1 + PASSWORD_BYTES_MAX)

/* One check under way; outlives the exchange where that ends first. */
struct basic_job {
	struct work work;
	struct exchange *exchange;
	struct basic_state *state;
	void *resume;
	bool matches;
	char hash[PASSWORD_HASH_BYTES_MAX];
	char password[PASSWORD_BYTES_MAX + 1];
};

struct basic_state {
	struct basic_job *job; /* NULL: none is under way */
	bool asked, matches;
};

/* What the request shows; in the room of the caller. */
struct pair {
	struct str user, password; /* the password ends in a NUL */
};

/* ---- users ---- */

uint32_t basic_hash_name(struct str name)
{
	return (uint32_t)XXH3_64bits(name.ptr, name.len);
}

const struct basic_user *basic_find(const struct basic *basic, struct str name)
{
	for (uint32_t at = basic_hash_name(name);; at++) {
		uint32_t number = basic->slots[at & basic->mask];

		if (!number)
			return NULL;
		if (str_eq(basic->users[number - 1].finding.consumer, name))
			return &basic->users[number - 1];
	}
}

/* Whose hash is tried for a name that is not there. */
static const struct basic_user *decoy(const struct basic *basic, struct str name)
{
	uint64_t seed;

	memcpy(&seed, basic->key, sizeof(seed));
	return &basic->users[XXH3_64bits_withSeed(name.ptr, name.len, seed) % basic->user_count];
}

/* ---- pairs that were right ---- */

static void pair_digest(const struct basic *basic, const struct basic_user *user,
			const struct pair *pair, uint8_t digest[DIGEST_BYTES])
{
	char room[DIGEST_BYTES + PAIR_BYTES_MAX + PASSWORD_HASH_BYTES_MAX + 2];
	size_t len = 0, hash_len = strlen(user->hash);

	memcpy(room, basic->key, DIGEST_BYTES);
	len += DIGEST_BYTES;
	memcpy(room + len, pair->user.ptr, pair->user.len);
	len += pair->user.len;
	room[len++] = '\0';
	memcpy(room + len, pair->password.ptr, pair->password.len);
	len += pair->password.len;
	room[len++] = '\0';
	memcpy(room + len, user->hash, hash_len);
	len += hash_len;
	digest_sha256(str_make(room, len), digest);
	explicit_bzero(room, len);
}

static struct basic_pair *pair_place(const struct exchange *exchange, const struct basic *basic,
				     const uint8_t digest[DIGEST_BYTES])
{
	return &basic->pairs[exchange->worker->index * BASIC_PAIRS + digest[0]];
}

/* ---- the check off the loop ---- */

static void job_run(struct work *work)
{
	struct basic_job *job = CONTAINER_OF(work, struct basic_job, work);

	job->matches = password_matches(job->hash, job->password);
}

static void job_release(struct work *work)
{
	struct basic_job *job = CONTAINER_OF(work, struct basic_job, work);

	explicit_bzero(job->password, sizeof(job->password));
	free(job);
}

static void job_done(struct work *work)
{
	struct basic_job *job = CONTAINER_OF(work, struct basic_job, work);
	struct exchange *exchange = job->exchange;
	void *resume = job->resume;

	job->state->matches = job->matches;
	job->state->job = NULL;
	job_release(work);
	exchange_policy_resume(exchange, resume);
}

static enum auth_verdict ask(struct exchange *exchange, const char *hash, const struct pair *pair,
			     struct basic_state *state, struct auth_attempt *attempt)
{
	struct basic_job *job = calloc(1, sizeof(*job));

	attempt->why = "out of memory";
	if (!job)
		return AUTH_UNAVAILABLE;
	job->work = (struct work){.run = job_run, .done = job_done, .release = job_release};
	job->exchange = exchange;
	job->state = state;
	job->resume = attempt->resume;
	(void)snprintf(job->hash, sizeof(job->hash), "%s", hash);
	memcpy(job->password, pair->password.ptr, pair->password.len);
	attempt->why = "too many passwords are waiting";
	if (!exchange->worker->work ||
	    work_pool_submit(exchange->worker->work, exchange->worker->loop, &job->work)) {
		job_release(&job->work);
		return AUTH_UNAVAILABLE;
	}
	state->job = job;
	state->asked = true;
	return AUTH_WAITS;
}

/* ---- the policy ---- */

/* ptr NULL: there is none. False: more than one. */
static bool find_credentials(const struct http_head *request, struct str *ret_text)
{
	for (unsigned int i = 0; i < request->field_count; i++) {
		struct str value = request->fields[i].value;

		/* Other schemes are other policies'. */
		if (request->fields[i].id != HTTP_FIELD_AUTHORIZATION ||
		    !str_eq_nocase(str_sub(value, 0, 6), STR("Basic ")))
			continue;
		if (ret_text->ptr)
			return false;
		*ret_text = str_trim(str_sub(value, 6, value.len));
	}
	return true;
}

/* RFC 7617 section 2: the first colon ends the user. No controls in either. */
static bool take_apart(struct str text, char room[BASE64_ROOM(2 * PAIR_BYTES_MAX)],
		       struct pair *pair)
{
	ptrdiff_t len, colon;
	struct str both;

	if (text.len > PAIR_BYTES_MAX * 4 / 3 + 4)
		return false;
	len = base64_decode(text, (uint8_t *)room);
	if (len < 0)
		return false;
	room[len] = '\0';
	both = str_make(room, (size_t)len);
	for (size_t i = 0; i < both.len; i++)
		if ((unsigned char)both.ptr[i] < ' ' || both.ptr[i] == 127)
			return false;
	colon = str_find_byte(both, ':');
	if (colon <= 0)
		return false;
	pair->user = str_sub(both, 0, (size_t)colon);
	pair->password = str_sub(both, (size_t)colon + 1, both.len);
	return pair->user.len <= NAME_BYTES_MAX && pair->password.len <= PASSWORD_BYTES_MAX;
}

static enum auth_verdict judge(struct exchange *exchange, const struct basic *basic,
			       const struct pair *pair, struct basic_state *state,
			       struct auth_attempt *attempt)
{
	const struct basic_user *user = basic_find(basic, pair->user);
	uint64_t now_ms = loop_now_ms(exchange->worker->loop);
	uint8_t digest[DIGEST_BYTES];
	struct basic_pair *place;

	if (!user && !state->asked)
		return ask(exchange, decoy(basic, pair->user)->hash, pair, state, attempt);
	attempt->why = "user or password is wrong";
	if (!user)
		return AUTH_WRONG;
	attempt->finding = &user->finding;
	pair_digest(basic, user, pair, digest);
	place = pair_place(exchange, basic, digest);
	if (state->asked) {
		if (!state->matches)
			return AUTH_WRONG;
		memcpy(place->digest, digest, DIGEST_BYTES);
		place->until_ms = now_ms + basic->cached_for_ms;
		return AUTH_KNOWN;
	}
	if (now_ms < place->until_ms && digest_equal(place->digest, digest))
		return AUTH_KNOWN;
	return ask(exchange, user->hash, pair, state, attempt);
}

static enum auth_verdict check(struct exchange *exchange, const void *conf, void *state,
			       struct auth_attempt *attempt)
{
	char room[BASE64_ROOM(2 * PAIR_BYTES_MAX)];
	const struct basic *basic = conf;
	struct basic_state *own = state;
	struct str text = STR_NULL;
	enum auth_verdict verdict;
	struct pair pair;

	if (own->job)
		return AUTH_WAITS; /* resumed by somebody else */
	attempt->why = "several credentials";
	if (!find_credentials(&exchange->request, &text))
		return AUTH_WRONG;
	attempt->why = NULL;
	if (!text.ptr)
		return AUTH_ABSENT;
	attempt->why = "malformed credentials";
	if (!take_apart(text, room, &pair))
		return AUTH_WRONG;
	verdict = judge(exchange, basic, &pair, own, attempt);
	explicit_bzero(room, sizeof(room));
	return verdict;
}

static void abandon(struct exchange *exchange, void *state)
{
	struct basic_state *own = state;

	if (own->job)
		work_abandon(&own->job->work);
	own->job = NULL;
}

static void hide(struct exchange *exchange, const void *conf)
{
	request_field_remove(exchange, STR("authorization"));
}

static int acquire(struct registry *registry, struct str name, unsigned int worker_count,
		   void *conf)
{
	struct basic *basic = conf;

	if (getrandom(basic->key, sizeof(basic->key), 0) != (ssize_t)sizeof(basic->key))
		return -errno;
	basic->pairs = calloc((size_t)worker_count * BASIC_PAIRS, sizeof(struct basic_pair));
	return basic->pairs ? 0 : -ENOMEM;
}

static void release(void *conf)
{
	free(((struct basic *)conf)->pairs);
}

static const struct auth_kind basic_auth = {
	.scheme = "basic",
	.state_bytes = sizeof(struct basic_state),
	.check = check,
	.hide = hide,
	.abandon = abandon,
};

const struct policy_type basic_policy = {
	.key = "basic",
	.conf_bytes = sizeof(struct basic),
	.state_bytes = sizeof(struct basic_state),
	.auth = &basic_auth,
	.read = basic_read,
	.write = basic_write,
	.acquire = acquire,
	.release = release,
	.owned_fields = auth_owned_fields,
	.request_head = auth_request_head,
	.abandon = auth_abandon,
};
