-- Spans of use that are over, of products that were given up and taken again: JSON, as in the events.
ALTER TABLE allocations ADD COLUMN earlier text NOT NULL DEFAULT '[]';
