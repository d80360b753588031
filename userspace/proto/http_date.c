#include "proto/http_date.h"

#include <errno.h>

#include "base/util.h"

#define DAY_SECONDS 86400
#define SECONDS_MIN (-62167219200LL) /* 0000-01-01 00:00:00 */
#define SECONDS_MAX 253402300799LL   /* 9999-12-31 23:59:59 */

static const char day_names[][10] = {"Sunday",	 "Monday", "Tuesday", "Wednesday",
				     "Thursday", "Friday", "Saturday"};
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
	int64_t year;
	unsigned int month, day; /* from 1 */
	unsigned int hour, minute, second;
};

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned int days_of_month(int64_t year, unsigned int month)
{
	static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 0000-01-01 to the first of the year, for years from 0 on. */
static int64_t days_before_year(int64_t year)
{
	return year ? year * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 : 0;
}

static int64_t civil_seconds(const struct civil *civil)
{
	int64_t days = days_before_year(civil->year) + civil->day - 1;

	for (unsigned int month = 1; month < civil->month; month++)
		days += days_of_month(civil->year, month);
	return SECONDS_MIN + days * DAY_SECONDS + civil->hour * 3600 + civil->minute * 60 +
	       civil->second;
}

static void put_digits(char *place, unsigned int count, int64_t number)
{
	while (count--) {
		place[count] = (char)('0' + number % 10);
		number /= 10;
	}
}

struct str http_date_format(int64_t seconds, char room[HTTP_DATE_LEN])
{
	int64_t days, rest, year;
	unsigned int month = 1;

	seconds = MIN(MAX(seconds, SECONDS_MIN), SECONDS_MAX) - SECONDS_MIN;
	days = seconds / DAY_SECONDS;
	rest = seconds % DAY_SECONDS;
	year = days / 366; /* never too late, a few years early at most */
	while (days_before_year(year + 1) <= days)
		year++;
	memcpy(room, "Xxx, 00 Xxx 0000 00:00:00 GMT", HTTP_DATE_LEN);
	memcpy(room, day_names[(days + 6) % 7], 3); /* 0000-01-01 was a Saturday */
	days -= days_before_year(year);
	for (; days >= days_of_month(year, month); month++)
		days -= days_of_month(year, month);
	put_digits(room + 5, 2, days + 1);
	memcpy(room + 8, month_names + (size_t)(month - 1) * 3, 3);
	put_digits(room + 12, 4, year);
	put_digits(room + 17, 2, rest / 3600);
	put_digits(room + 20, 2, rest / 60 % 60);
	put_digits(room + 23, 2, rest % 60);
	return str_make(room, HTTP_DATE_LEN);
}

/* ---- reading ---- */

static bool take(struct str *rest, struct str text)
{
	if (!str_starts_with(*rest, text))
		return false;
	*rest = str_make(rest->ptr + text.len, rest->len - text.len);
	return true;
}

static bool take_digits(struct str *rest, unsigned int count, unsigned int *ret_number)
{
	unsigned int number = 0;

	if (rest->len < count)
		return false;
	for (unsigned int i = 0; i < count; i++) {
		if (rest->ptr[i] < '0' || rest->ptr[i] > '9')
			return false;
		number = number * 10 + (unsigned int)(rest->ptr[i] - '0');
	}
	*rest = str_make(rest->ptr + count, rest->len - count);
	*ret_number = number;
	return true;
}

static bool take_month(struct str *rest, unsigned int *ret_month)
{
	for (unsigned int month = 1; month <= 12; month++)
		if (take(rest, str_make(month_names + (size_t)(month - 1) * 3, 3))) {
			*ret_month = month;
			return true;
		}
	return false;
}

static bool take_time(struct str *rest, struct civil *civil)
{
	return take_digits(rest, 2, &civil->hour) && take(rest, STR(":")) &&
	       take_digits(rest, 2, &civil->minute) && take(rest, STR(":")) &&
	       take_digits(rest, 2, &civil->second);
}

/* "06 Nov 1994 08:49:37 GMT" */
static bool take_fixdate(struct str *rest, struct civil *civil)
{
	unsigned int year = 0;
	bool is_one = take_digits(rest, 2, &civil->day) && take(rest, STR(" ")) &&
		      take_month(rest, &civil->month) && take(rest, STR(" ")) &&
		      take_digits(rest, 4, &year) && take(rest, STR(" ")) &&
		      take_time(rest, civil) && take(rest, STR(" GMT"));

	civil->year = year;
	return is_one;
}

/* "06-Nov-94 08:49:37 GMT" */
static bool take_rfc850(struct str *rest, struct civil *civil, int64_t now)
{
	char room[HTTP_DATE_LEN];
	struct str today = http_date_format(now, room), year_now = str_sub(today, 12, 4);
	unsigned int year = 0, this_year = 0;
	bool is_one = take_digits(rest, 2, &civil->day) && take(rest, STR("-")) &&
		      take_month(rest, &civil->month) && take(rest, STR("-")) &&
		      take_digits(rest, 2, &year) && take(rest, STR(" ")) &&
		      take_time(rest, civil) && take(rest, STR(" GMT"));

	if (!is_one || !take_digits(&year_now, 4, &this_year))
		return false;
	/* RFC 9110 5.6.7: more than 50 years ahead means the last year that ended like this. */
	civil->year = this_year / 100 * 100 + year;
	if (civil->year > (int64_t)this_year + 50)
		civil->year -= 100;
	else if (civil->year + 50 <= this_year)
		civil->year += 100;
	return civil->year >= 0 && civil->year <= 9999;
}

/* "Nov  6 08:49:37 1994" */
static bool take_asctime(struct str *rest, struct civil *civil)
{
	unsigned int year = 0;
	bool is_one = take_month(rest, &civil->month) && take(rest, STR(" ")) &&
		      (take(rest, STR(" ")) ? take_digits(rest, 1, &civil->day)
					    : take_digits(rest, 2, &civil->day)) &&
		      take(rest, STR(" ")) && take_time(rest, civil) && take(rest, STR(" ")) &&
		      take_digits(rest, 4, &year);

	civil->year = year;
	return is_one;
}

static bool take_any(struct str *rest, struct civil *civil, int64_t now)
{
	for (unsigned int day = 0; day < ARRAY_SIZE(day_names); day++) {
		struct str whole = str_from_cstr(day_names[day]), brief = str_sub(whole, 0, 3);

		if (take(rest, whole))
			return take(rest, STR(", ")) && take_rfc850(rest, civil, now);
		if (take(rest, brief))
			return take(rest, STR(", "))
				       ? take_fixdate(rest, civil)
				       : take(rest, STR(" ")) && take_asctime(rest, civil);
	}
	return false;
}

int http_date_parse(struct str text, int64_t now, int64_t *ret_seconds)
{
	struct civil civil = {0};

	if (!take_any(&text, &civil, now) || text.len)
		return -EINVAL;
	/* 60: a leap second. */
	if (!civil.day || civil.day > days_of_month(civil.year, civil.month) || civil.hour > 23 ||
	    civil.minute > 59 || civil.second > 60)
		return -EINVAL;
	*ret_seconds = MIN(civil_seconds(&civil), SECONDS_MAX);
	return 0;
}
