#include "http/media_type.h"

#include "base/util.h"

#define EXTENSION_MAX 12

struct media_type {
	char extension[EXTENSION_MAX]; /* in lower case */
	struct str type;
};

#define TEXT(kind) STR("text/" kind "; charset=utf-8")

/* Sorted by extension. Registered types where there are such (IANA's media types). */
static const struct media_type types[] = {
	{"7z", STR("application/x-7z-compressed")},
	{"aac", STR("audio/aac")},
	{"apk", STR("application/vnd.android.package-archive")},
	{"atom", STR("application/atom+xml")},
	{"avi", STR("video/x-msvideo")},
	{"avif", STR("image/avif")},
	{"bin", STR("application/octet-stream")},
	{"bmp", STR("image/bmp")},
	{"br", STR("application/x-brotli")},
	{"bz2", STR("application/x-bzip2")},
	{"c", TEXT("plain")},
	{"conf", TEXT("plain")},
	{"css", TEXT("css")},
	{"csv", TEXT("csv")},
	{"deb", STR("application/vnd.debian.binary-package")},
	{"doc", STR("application/msword")},
	{"docx", STR("application/vnd.openxmlformats-officedocument.wordprocessingml.document")},
	{"eot", STR("application/vnd.ms-fontobject")},
	{"epub", STR("application/epub+zip")},
	{"flac", STR("audio/flac")},
	{"gif", STR("image/gif")},
	{"gz", STR("application/gzip")},
	{"h", TEXT("plain")},
	{"htm", TEXT("html")},
	{"html", TEXT("html")},
	{"ico", STR("image/x-icon")},
	{"ics", TEXT("calendar")},
	{"iso", STR("application/octet-stream")},
	{"jar", STR("application/java-archive")},
	{"jpeg", STR("image/jpeg")},
	{"jpg", STR("image/jpeg")},
	{"js", TEXT("javascript")},
	{"json", STR("application/json")},
	{"jsonld", STR("application/ld+json")},
	{"jxl", STR("image/jxl")},
	{"log", TEXT("plain")},
	{"m3u8", STR("application/vnd.apple.mpegurl")},
	{"m4a", STR("audio/mp4")},
	{"m4v", STR("video/mp4")},
	{"map", STR("application/json")},
	{"md", TEXT("markdown")},
	{"mid", STR("audio/midi")},
	{"mjs", TEXT("javascript")},
	{"mkv", STR("video/x-matroska")},
	{"mov", STR("video/quicktime")},
	{"mp3", STR("audio/mpeg")},
	{"mp4", STR("video/mp4")},
	{"mpd", STR("application/dash+xml")},
	{"mpeg", STR("video/mpeg")},
	{"mpg", STR("video/mpeg")},
	{"odp", STR("application/vnd.oasis.opendocument.presentation")},
	{"ods", STR("application/vnd.oasis.opendocument.spreadsheet")},
	{"odt", STR("application/vnd.oasis.opendocument.text")},
	{"oga", STR("audio/ogg")},
	{"ogg", STR("audio/ogg")},
	{"ogv", STR("video/ogg")},
	{"opus", STR("audio/ogg")},
	{"otf", STR("font/otf")},
	{"pdf", STR("application/pdf")},
	{"png", STR("image/png")},
	{"ppt", STR("application/vnd.ms-powerpoint")},
	{"pptx", STR("application/vnd.openxmlformats-officedocument.presentationml.presentation")},
	{"ps", STR("application/postscript")},
	{"rar", STR("application/vnd.rar")},
	{"rss", STR("application/rss+xml")},
	{"rtf", STR("application/rtf")},
	{"sh", TEXT("plain")},
	{"svg", STR("image/svg+xml")},
	{"tar", STR("application/x-tar")},
	{"tif", STR("image/tiff")},
	{"tiff", STR("image/tiff")},
	{"toml", STR("application/toml")},
	{"ts", STR("video/mp2t")},
	{"ttf", STR("font/ttf")},
	{"txt", TEXT("plain")},
	{"vtt", TEXT("vtt")},
	{"wasm", STR("application/wasm")},
	{"wav", STR("audio/wav")},
	{"weba", STR("audio/webm")},
	{"webm", STR("video/webm")},
	{"webmanifest", STR("application/manifest+json")},
	{"webp", STR("image/webp")},
	{"woff", STR("font/woff")},
	{"woff2", STR("font/woff2")},
	{"xhtml", STR("application/xhtml+xml")},
	{"xls", STR("application/vnd.ms-excel")},
	{"xlsx", STR("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")},
	{"xml", STR("application/xml")},
	{"xz", STR("application/x-xz")},
	{"yaml", STR("application/yaml")},
	{"yml", STR("application/yaml")},
	{"zip", STR("application/zip")},
	{"zst", STR("application/zstd")},
};

struct str media_type_of(struct str file_name)
{
	char extension[EXTENSION_MAX];
	size_t len = 0, low = 0, high = ARRAY_SIZE(types);

	while (len < file_name.len && file_name.ptr[file_name.len - 1 - len] != '.' &&
	       file_name.ptr[file_name.len - 1 - len] != '/')
		len++;
	/* Without a dot, or nothing but an extension (".js" is a hidden file). */
	if (len + 1 >= file_name.len || file_name.ptr[file_name.len - 1 - len] != '.' ||
	    file_name.ptr[file_name.len - 2 - len] == '/' || len >= sizeof(extension))
		return STR("application/octet-stream");
	for (size_t i = 0; i < len; i++)
		extension[i] = ascii_lower(file_name.ptr[file_name.len - len + i]);
	extension[len] = '\0';
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(extension, types[middle].extension);

		if (order == 0)
			return types[middle].type;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return STR("application/octet-stream");
}
