#include "base/util.h"
#include "proto/http2/http2.h"

static const struct {
	const char *text;
	uint16_t cost;
} abuses[] = {
#define X(symbol, name, cost, text) [HTTP2_ABUSE_##symbol] = {text, cost},
	HTTP2_ABUSES(X)
#undef X
};

const char *http2_abuse_text(enum http2_abuse abuse)
{
	return abuses[abuse].text;
}

bool http2_score_add(struct http2_score *score, enum http2_abuse abuse, uint64_t now_ms)
{
	uint64_t forgotten = (now_ms - score->since_ms) * HTTP2_SCORE_PER_SECOND / 1000;

	/* Time that was too short to count goes on counting. */
	if (forgotten) {
		http2_score_pay(score, (uint32_t)MIN(forgotten, (uint64_t)UINT32_MAX));
		score->since_ms = now_ms;
	}
	score->points += abuses[abuse].cost;
	return score->points > HTTP2_SCORE_MAX;
}

void http2_score_pay(struct http2_score *score, uint32_t points)
{
	score->points -= MIN(score->points, points);
}
