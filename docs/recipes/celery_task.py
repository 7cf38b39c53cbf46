"""A Celery task that moves a file and ends once it has arrived. Start it with: celery -A celery_task worker"""

import os

from celery import Celery

from data_mover.client import Client, ServiceUnavailable

app = Celery("portal", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])


@app.task(bind=True, acks_late=True, autoretry_for=(ServiceUnavailable,), retry_backoff=True, max_retries=20)
def publish(self, source, destination):
    """Return where the file is, and its SHA-256. Fails with Rejected or MoveFailed, whose text can be shown.

    The key is the id of the task: however often Celery runs it, it is one move.
    """
    with Client(os.environ["DATA_MOVER_URL"], os.environ.get("DATA_MOVER_TOKEN")) as client:
        move = client.move(source, destination, key=self.request.id, label="published by the portal")
        move.wait(progress=lambda now: self.update_state(state="PROGRESS", meta={"bytes": now.answer["bytes_done"]}))
        return {"path": move.answer["path"], "sha256": move.answer["sha256"]}
