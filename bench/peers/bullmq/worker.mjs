// BullMQ's worker in the load suite: posts each job's data to the sink.
// node worker.mjs redis://host:port http://host:port/path queues concurrency
// One process: a second one, with half the concurrency each, delivered a tenth less on
// two cores, since Redis and the sink need theirs too.
import { Worker } from 'bullmq'
import Redis from 'ioredis'
import { Pool } from 'undici'

const [redis, url, queues, total] = process.argv.slice(2)
const concurrency = Number(total)
const target = new URL(url)
const pool = new Pool(target.origin, { connections: concurrency, pipelining: 1 })
const request = { path: target.pathname, method: 'POST', headers: { 'content-type': 'application/json' } }

async function post (job) {
  const res = await pool.request({ ...request, body: JSON.stringify(job.data) })
  await res.body.dump()
  if (res.statusCode !== 200) throw new Error(`status ${res.statusCode}`)
}

const workers = []
for (let i = 0; i < Number(queues); i++) {
  const connection = new Redis(redis, { maxRetriesPerRequest: null })
  const worker = new Worker(`q${i}`, post, { connection, concurrency, removeOnComplete: { count: 0 } })
  worker.on('error', (err) => console.error(err.message))
  worker.on('failed', (_, err) => console.error(err.message))
  workers.push(worker)
}
process.on('SIGTERM', async () => {
  await Promise.all(workers.map((w) => w.close()))
  process.exit(0)
})
