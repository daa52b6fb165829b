// express-session with connect-redis, as their documentation shows them.
const express = require('express')
const session = require('express-session')
const { RedisStore } = require('connect-redis')
const { createClient } = require('redis')

const [port, redisURL] = process.argv.slice(2)
const client = createClient({ url: redisURL })
client.on('error', (err) => console.error(err))

client.connect().then(() => {
  const app = express()
  app.use(session({
    store: new RedisStore({ client }),
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
  }))
  app.post('/login', (req, res) => {
    req.session.regenerate(() => {
      req.session.passport = { user: 'alice' }
      req.session.save(() => res.send('logged in'))
    })
  })
  app.get('/visit', (req, res) => {
    req.session.visits = (req.session.visits || 0) + 1
    res.send('hello')
  })
  app.post('/logout', (req, res) => req.session.destroy(() => res.send('logged out')))
  app.get('/private', (req, res) => res.send(String(req.headers['x-user-id'])))
  app.listen(Number(port), '127.0.0.1')
})
