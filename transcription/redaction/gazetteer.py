"""Given names that are common in English, Dutch and German, and hardly ever any other word.

Left out on purpose: names that are everyday words of one of the three languages (Mark, Will, Rose, Frank, Ernst).
"""

from __future__ import annotations

from typing import Final

from transcription.redaction.vocabulary import words

GIVEN: Final = words(
    """
    aaron abigail adam adrian agnes ahmed aisha alan albert alex alexander alexandra alfred ali alice alison amanda
    amber amelia amy andrea andreas andrew andy angela anita ann anna anne anneke annette annika anouk anthony antje
    anton arjan arnold arthur astrid ayşe barbara bart bas beatrice ben benjamin bernard bernd bert betty bianca
    birgit bjorn björn bob boris bram brenda brian brigitte bruce bruno caitlin carl carla carlos carmen carol
    caroline catherine cees cem charles charlotte chloe chris christa christian christina christine christoph
    christopher cindy claire clara claudia claus colin connor cornelia craig cynthia daan daisy damian dan daniel
    daniela danielle danny daphne dave david deborah debbie denise dennis derek diana diane diego dieter dirk
    dominic dominik donald donna dorothy doris douglas dylan eddie edith edward eileen elena elisabeth elise
    elizabeth elke ella ellen elly els emily emma emil eric erica erik erika erwin esther eva evelien evelyn fabian
    fatima felix femke ferdinand fiona florian floris frans francis franz franziska fred freddy frederik friedrich
    fritz gabriel gabriele gareth gary gemma geoffrey george georg gerald gerard gerda gerhard gerrit gert gisela
    gordon graham greg gregory greta gudrun guido günter günther hamza hanna hannah hannelore hannes hans harald
    harold harriet harry hassan heather heidi heike heiko helen helena helga helmut hendrik henk henning henri henry
    herbert hermann hilde holger horst howard hugo ian ibrahim ilse ines inga inge ingrid irene iris isaac isabel
    isabelle ivan ivo jaap jack jacob jacqueline jake jakob james jamie jan jana jane janet janine jason jasmin
    jasper jay jeanette jeff jeffrey jelle jennifer jenny jens jeremy jeroen jerry jesse jessica jill jim jimmy
    joachim joan joanne jochen joe johan johanna johannes john jolanda jonas jonathan joop joost jordan jörg jos
    jose josef joseph joshua joyce juan judith julia julian juliane julie jurgen jürgen jutta kai karel karen karin
    karl karl-heinz karsten kate katharina katherine kathleen kathrin katie katja katrin kees keith kelly ken
    kenneth kerstin kevin kim kimberly kirsten klaas klaus konrad kristina kurt kyle larry lars laura lauren laurens
    lea leah lena lennart leo leon leonie leonard lesley leslie lewis liam lieke lilly linda lisa liz lothar louis
    louise luca lucas lucy luis luisa lukas luke lutz lynn maaike maarten maggie malcolm mandy manfred manuel
    manuela marc marcel marco marcus margaret margot margriet maria marian marianne marie marieke marijke marina
    mario marion marjan markus marlies martha martijn martin martina mary mathias matthew matthias matthijs max
    maximilian maureen mehmet melanie melissa merel mia michael michaela michel michelle mick miguel mike milan
    mohamed mohammed monica monika monique moritz muhammad murat mustafa nadia nadine nadja nancy naomi natalie
    natasha nathan neil nel nicholas nick nicole niels nigel nikolaus nils nina noah noor nora norbert norman oliver
    olivia omar oscar oskar otto owen pam pamela pascal patricia patrick paul paula pauline peggy penny peter petra
    phil philip philipp phyllis piet pieter pim rachel ralf ralph ramona raymond rebecca regina reinhard renate rené
    ria richard rik rita robert roberto robin roel roger roland rolf roman ron ronald rosemary roswitha roy rudolf
    ruben rudi russell ruth ryan saar sabine sabrina sally sam samantha samuel sander sandra sanne sara sarah saskia
    scott sean sebastian sem sharon shaun sheila shirley sibylle siegfried sigrid silke silvia simon simone sjaak
    sjoerd sofia sonja sophia sophie stefan stefanie steffen stella stephan stephanie stephen steve steven stuart
    sue susan susanne suzanne sven svenja sylvia tamara tanja ted teresa terry tess thea theo theodor theresa thijs
    thomas thorsten tilman tim timo timothy tina tobias todd tom tony torsten tracy trevor truus udo ulrich ulrike
    ursula ute uwe valerie vanessa vera veronica veronika victor victoria vincent viola viktor volker walter wanda
    wayne wendy werner wesley wilfried wilhelm willem william wim wolfgang wouter xavier yannick yusuf yvonne zoe
    """
)

PARTICLES: Final = words(
    """
    van von de der den ten ter te het 't zu zum zur vom am la le di da del el al bin ibn o' mc mac dr dr. prof
    """
)
"""Small words inside family names."""
