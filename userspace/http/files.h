/*
 * files: the action that answers GET and HEAD with files below a directory.
 *
 *   path below the route's ──► decode once ──► openat2 beneath the root ──► regular file?
 *     precondition? 304, 412 ◄── validators ◄── fstat ◄──┘      └── directory: index, or 301 to "/"
 *     Range? 206, 416, else 200 ──► small: read and sent with the head; else sendfile
 *
 * The kernel sees to it that nothing outside the root is reached (RESOLVE_BENEATH), whatever links
 * there are; links inside may be followed. What is neither a file nor a directory does not exist.
 * Opening and reading may wait for the disk, and the worker with it. Thread rule: the worker's
 * thread.
 */
#ifndef SLUICE_HTTP_FILES_H
#define SLUICE_HTTP_FILES_H

struct exchange;

void files_start(struct exchange *exchange);
/* Once no more of the request is waited for. */
void files_answer(struct exchange *exchange);

#endif
