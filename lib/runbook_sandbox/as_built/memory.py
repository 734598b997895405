"""Documents and the triage queue, which live in the service's memory only and are gone with its process."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Eight items wait after it was read: two of high priority, six of medium.
DOCUMENT = """\
Penaeus monodon infected by Vibrio harveyi showed acute hepatopancreatic necrosis disease.
The pond was drained on the next day. Florfenicol was given at 20 mg/L. Salinity stood at 18 ppt.
White spot syndrome virus was found by PCR.
"""
_RULES = (  # what it finds, its label, its kind, the priority that it gives
    (r"\bPenaeus\s+(?:vannamei|monodon)\b", "SPECIES", "scientific", 0.605),
    (r"\bVibrio\s+\w+\b", "PATHOGEN", "bacteria", 0.73),
    (r"\b(?:WSSV|TSV|YHV)\b", "PATHOGEN", "virus_acronym", 0.73),
    (r"\bWhite\s+spot\s+syndrome\s+virus\b", "PATHOGEN", "virus", 0.73),
    (r"\b(?:AHPND|acute\s+hepatopancreatic\s+necrosis\s+disease)\b", "DISEASE", "specific", 0.68),
    (r"\b(?:oxytetracycline|florfenicol)\b", "TREATMENT", "antibiotic", 0.68),
    (r"\b\d+\.?\d*\s*(?:mg/L|ppm)", "MEASUREMENT", "concentration", 0.605),
    (r"\b\d+\.?\d*\s*(?:ppt|g/L)", "MEASUREMENT", "salinity", 0.605),
    (r"\bPCR\b", "TEST_TYPE", "molecular", 0.59),
)
HIGH = 0.7


def identity(text: str) -> str:
    """Return the identity of a document with this text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]


def entities(sentence: str) -> list[dict[str, Any]]:
    """Return what the rules find in a sentence."""
    found = [
        {"start": m.start(), "end": m.end(), "text": m[0], "label": label, "rule_type": kind, "rule_source": rule}
        for rule, label, kind, _ in _RULES
        for m in re.finditer(rule, sentence, re.IGNORECASE)
    ]
    return [{"cid": cid, "confidence": 0.95, **entity} for cid, entity in enumerate(found)]


@dataclass
class Memory:
    """All that the service knows; ``queue`` holds each item with its status."""

    documents: list[dict[str, str]] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)

    def ingest(self, title: str, text: str, source: str) -> dict[str, Any]:
        """Keep a document; its items come into the queue when that is populated."""
        doc_id = identity(text)
        self.documents.append({"doc_id": doc_id, "title": title, "source": source, "text": text})
        count = len(sentences(text))
        return {"doc_id": doc_id, "sentence_count": count, "message": "Document ingested successfully"}

    def populate(self) -> int:
        """Queue what the rules find in documents that are not queued yet, and return how many sentences were read."""
        queued = {item["doc_id"] for item in self.queue}
        count = 0
        for document in list(self.documents):
            for number, sentence in enumerate(sentences(document["text"])):
                count += 1
                if document["doc_id"] not in queued:
                    self._add(document, f"s{number}", sentence)
        return count

    def _add(self, document: dict[str, str], sent_id: str, sentence: str) -> None:
        before = len(self.queue)
        for entity in entities(sentence):
            self.fired[entity["label"]] += 1
            score = next(score for rule, *_, score in _RULES if rule == entity["rule_source"])
            self.queue.append(
                {
                    # As built, what one sentence adds has one identity: the queue's length before it.
                    "item_id": f"{document['doc_id']}_{sent_id}_entity_{before}",
                    "doc_id": document["doc_id"],
                    "document_title": document["title"],
                    "sent_id": sent_id,
                    "sentence_text": sentence,
                    "item_type": "entity",
                    "priority_score": score,
                    "priority_level": "HIGH" if score >= HIGH else "MEDIUM",
                    "assigned_to": None,
                    "candidate_data": entity,
                }
            )
        self.fired["infected_by"] += sentence.count("infected by")

    def waiting(self, limit: int) -> list[dict[str, Any]]:
        """Return the items that wait, the most urgent first."""
        return sorted(self.queue, key=lambda item: -item["priority_score"])[:limit]

    def statistics(self) -> dict[str, Any]:
        """Return the queue's figures, fewer of them when it is empty; none is named queue_size."""
        size, levels = len(self.queue), Counter(item["priority_level"] for item in self.queue)
        told = {
            "total_items": size,
            "by_priority": dict(levels),
            "by_status": {"pending": size} if size else {},
            "by_type": {"entity": size} if size else {},
        }
        if not size:
            return told
        return told | {
            "avg_priority_score": sum(item["priority_score"] for item in self.queue) / size,
            "pending_critical": 0,
            "pending_high": levels["HIGH"],
            "completed_items": 0,
            "completion_stats": dict.fromkeys(("accepted", "modified", "rejected", "skipped"), 0),
        }

    def rule_statistics(self) -> dict[str, Any]:
        """Return how often each rule fired."""
        fired = {name: count for name, count in self.fired.items() if count}
        relations = fired.get("infected_by", 0)
        return {
            "entities_matched": sum(fired.values()) - relations,
            "relations_matched": relations,
            "rules_fired": fired,
        }
