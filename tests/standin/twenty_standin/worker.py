# SPDX-License-Identifier: Apache-2.0
"""The worker: no port; a named client in Redis that takes jobs from a list."""
import base64
import json
import os
import signal

import psycopg2

import commands
import database
import faults
from log import error, info
from resp import Redis

QUEUE = "bull:standin-queue:wait"
CLIENT = "bull:" + base64.b64encode(b"standin-queue").decode()

_stopping = False


def run(this):
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    commands.require_valid_version(this)
    faults.at(this.faults, "worker")
    redis = commands.redis_or_exit()
    connection = database.connect_or_exit()
    redis.call("CLIENT", "SETNAME", CLIENT)
    info("QueueWorker", f"worker of {this.code_version} waits for jobs")
    while not _stopping:
        try:
            taken = redis.call("BLPOP", QUEUE, "0.5")
            if taken is not None:
                connection = _process(connection, json.loads(taken[1]))
        except OSError as failure:
            error("QueueWorker", f"lost redis: {failure}")
            redis = _again()
    info("QueueWorker", "stopped")
    return 0


def _stop(*_):
    global _stopping
    _stopping = True


def _again():
    """Reconnects for as long as it takes, as the queue library does."""
    while not _stopping:
        try:
            redis = Redis(os.environ["REDIS_URL"])
            redis.call("CLIENT", "SETNAME", CLIENT)
            return redis
        except OSError:
            signal.sigtimedwait([signal.SIGUSR1], 0.5)
    raise SystemExit(0)


def _process(connection, job):
    try:
        if connection.closed:
            connection = database.connect()
        database.execute(connection, f"INSERT INTO {database.quoted(job['schema'])}.\"company\" "
                                     '("name") VALUES (%s)', (job["name"],))
        info("QueueWorker", f"job done: company {job['name']}")
    except psycopg2.Error as failure:
        error("QueueWorker", f"QueryFailedError: {str(failure).strip()}")
    return connection
