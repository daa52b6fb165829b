// Package frameworks holds no code: its tests put real web frameworks behind the
// program, each with its own session library on a Redis, and look at whom the program
// lets pass. Express with express-session and connect-redis, Django with django-redis, Flask with Flask-Session,
// PHP with phpredis, FastAPI with redis-py.
//
// Every application has the same routes: /login (a POST logs alice in), /visit (a guest's
// session), /logout, and /private, which answers with the X-User-Id that it received.
package frameworks
