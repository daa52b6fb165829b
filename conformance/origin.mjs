// Runs the suite's own origin server, unchanged, on a free port of loopback: the
// suite's server takes a fixed port, and every address of the machine.
//
// usage: node origin.mjs SERVER.MJS PIDFILE
// It prints the suite's line "Listening on URL", and ends when its input ends, so
// that it cannot outlive whoever started it.
import net from 'node:net'
import process from 'node:process'
import { pathToFileURL } from 'node:url'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function () { return listen.call(this, 0, '127.0.0.1') }

process.env.npm_config_protocol = 'http'
process.env.npm_config_port = '80' // only used to resolve relative URLs
process.env.npm_config_pidfile = process.argv[3]
process.stdin.resume().on('end', () => process.exit(0))
await import(pathToFileURL(process.argv[2]))
