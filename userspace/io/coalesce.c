#include "io/coalesce.h"

#include "base/util.h"

#define REST_FIRST    64
#define PATIENCE_MIN  4
#define PATIENCE_MAX  1024
#define TRUSTED_AFTER 32 /* waits that were met since a trial: the next one may come soon */

void coalesce_init(struct coalesce *coalesce, bool enabled)
{
	*coalesce = (struct coalesce){
		.enabled = enabled, .patience = PATIENCE_MIN, .rest_next = REST_FIRST};
}

unsigned int coalesce_want(struct coalesce *coalesce, unsigned int open)
{
	unsigned int most = MIN(open / 2, COALESCE_MAX);

	if (!coalesce->enabled || most < COALESCE_MIN)
		return 0;
	if (coalesce->rest) {
		coalesce->rest--;
		return 0;
	}
	if (!coalesce->want)
		coalesce->want = COALESCE_MIN;
	return MIN(coalesce->want, most);
}

static void turn_off(struct coalesce *coalesce)
{
	coalesce->want = 0;
	coalesce->met = 0;
	coalesce->patience = PATIENCE_MIN;
	coalesce->rest = coalesce->rest_next;
	coalesce->rest_next = MIN(coalesce->rest_next * 2, COALESCE_REST_MAX);
}

void coalesce_tell(struct coalesce *coalesce, unsigned int want, unsigned int got)
{
	if (got >= want) {
		coalesce->met++;
		if (coalesce->met >= TRUSTED_AFTER)
			coalesce->rest_next = REST_FIRST;
		if (coalesce->met % coalesce->patience == 0 && coalesce->want < COALESCE_MAX)
			coalesce->want++;
		return;
	}
	coalesce->met = 0;
	coalesce->patience = MIN(coalesce->patience * 2, PATIENCE_MAX);
	coalesce->want = got * 3 / 4;
	if (coalesce->want < COALESCE_MIN)
		turn_off(coalesce);
}
