"""Classes and numbers of videos of the official data sets, for use without their lists."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Number of clips of the groups 1 to 25 of every class, one digit each. Clips are numbered from 1.
_UCF101 = """
ApplyEyeMakeup 6467777575566575554655677
ApplyLipstick 5445554444454455544557454
Archery 7755566577747475474745767
BabyCrawling 4644566465466466565747466
BalanceBeam 4444474444445444644454544
BandMarching 7774747777765677467665667
BaseballPitch 6475777775547476775447777
Basketball 7664444455554576457767647
BasketballDunk 7464646555554776764644554
BenchPress 6777777774577765776747577
Biking 4745756646646455664775474
Billiards 6757654675777775577475467
BlowDryHair 4555577747764554554564744
BlowingCandles 4445574444464444444444446
BodyWeightSquats 4454454475444444444644457
Bowling 7474777777746574757767775
BoxingPunchingBag 7777777774574777467777777
BoxingSpeedBag 4457557574657675745544547
BreastStroke 4444444444444444454444444
BrushingTeeth 4754556645464544575547677
CleanAndJerk 5465445444474644444644444
CliffDiving 6454776467674744577746554
CricketBowling 7745454574765567567567447
CricketShot 7777777777777777655767577
CuttingInKitchen 5445654447444444444444446
Diving 7777674677677475444776674
Drumming 7757667547777677767774777
Fencing 6555544465554444444444444
FieldHockeyPenalty 5647774457464764444444456
FloorGymnastics 5445477475464564674554445
FrisbeeCatch 6555556556454546556656444
FrontCrawl 4467457565744744774766764
GolfSwing 6476745644744444766766777
Haircut 4465446677544445456747774
Hammering 4455465477457774776477674
HammerThrow 6777675677677654557557745
HandstandPushups 4444444544677467574765547
HandstandWalking 4445746444444444474444464
HeadMassage 5774675744774774775567747
HighJump 5746546554745445445545655
HorseRace 4456466544745445566554574
HorseRiding 7777777667774766667767677
HulaHoop 7455445564466556544745645
IceDancing 7767667767475646567777777
JavelinThrow 4444645445644666544444565
JugglingBalls 4675567564554544444446445
JumpingJack 7444675476447444447444447
JumpRope 4747556774755467574776576
Kayaking 6447474665744477675777664
Knitting 4556545457645575644444447
LongJump 7567545667666555556444444
Lunges 7444477446756744457454644
MilitaryParade 7444446575554574567444447
Mixing 7677765575776774444444444
MoppingFloor 4646545444444444664444444
Nunchucks 4676444756657464764464556
ParallelBars 4447576564644444444444444
PizzaTossing 4547454444544444445444765
PlayingCello 7747775677777477777757777
PlayingDaf 4747775757654776477777647
PlayingDhol 7777777777767746767477757
PlayingFlute 7777767776655676757465657
PlayingGuitar 6477577747777777777765747
PlayingPiano 4444444444444447644444444
PlayingSitar 4677767777744747777776774
PlayingTabla 4456444455455445464444445
PlayingViolin 4444444444444444444444444
PoleVault 5777554447575747777674777
PommelHorse 7445447444477444646747444
PullUps 4444444444444444444444444
Punch 5445777776777767777477777
PushUps 5445444444444444444444444
Rafting 4444444645445547645444444
RockClimbingIndoor 5574677747466545744677677
RopeClimbing 4644745445447555557444445
Rowing 4676445467677774746454556
SalsaSpin 7766656566664665444555454
ShavingBeard 4774777777466676777777776
Shotput 7765777776774477544445745
SkateBoarding 4645445547564464465545455
Skiing 6577474765447455446775465
Skijet 4444444444444444444444444
SkyDiving 4454545445444454564644444
SoccerJuggling 5646657474665747777657676
SoccerPenalty 6555776655576675454555664
StillRings 5474444446444444444474447
SumoWrestling 4444477744455444575444444
Surfing 7644444756475477744644444
Swing 5547777564644575444665554
TableTennisShot 6457764474544577447747777
TaiChi 4444444444444444444444444
TennisSwing 7777777677777777766666666
ThrowDiscus 4744577465765454574474555
TrampolineJumping 4645445466654456446546444
Typing 7674676777774744444744444
UnevenBars 4444444444444475444444444
VolleyballSpiking 4447547664647444444444444
WalkingWithDog 4655556565555445545744464
WallPushups 4454576555655557755674445
WritingOnBoard 7774677467646457574777777
YoYo 7565544565645446646466645
"""

# Number of videos of every class.
_HMDB51 = """
brush_hair 107, cartwheel 107, catch 102, chew 109, clap 130, climb 108, climb_stairs 112,
dive 127, draw_sword 103, dribble 145, drink 164, eat 108, fall_floor 136, fencing 116,
flic_flac 107, golf 105, handstand 113, hit 127, hug 118, jump 151, kick 130, kick_ball 128,
kiss 102, laugh 128, pick 106, pour 106, pullup 104, punch 126, push 116, pushup 103,
ride_bike 103, ride_horse 116, run 232, shake_hands 162, shoot_ball 131, shoot_bow 112,
shoot_gun 103, sit 142, situp 105, smile 102, smoke 109, somersault 140, stand 154,
swing_baseball 143, sword 127, sword_exercise 127, talk 120, throw 102, turn 240, walk 548,
wave 104
"""

_KINETICS = Path(__file__).with_name("kinetics_classes.txt")  # "abseiling\t400 600 700"
_SHOWN = 10  # classes listed in a message


@cache
def ucf101() -> dict[str, tuple[int, ...]]:
    """Number of clips of every group, by class; the classes are in the order of their labels."""
    rows = (line.split() for line in _UCF101.strip().split("\n"))
    return {name: tuple(map(int, digits)) for name, digits in rows}


def ucf101_videos() -> Iterator[str]:
    """Yield all 13 320 names, such as "Archery/v_Archery_g01_c01.avi"."""
    for name, groups in ucf101().items():
        file = "HandStandPushups" if name == "HandstandPushups" else name
        for group, clips in enumerate(groups, 1):
            for clip in range(1, clips + 1):
                yield f"{name}/v_{file}_g{group:02d}_c{clip:02d}.avi"


@cache
def hmdb51() -> dict[str, int]:
    """Number of videos of every class."""
    rows = (row.split() for row in _HMDB51.replace("\n", " ").split(","))
    return {name: int(videos) for name, videos in rows}


@cache
def kinetics(count: int) -> frozenset[str]:
    """The classes of Kinetics-`count` (400, 600, 700). Each has at least `count` clips."""
    lines = _KINETICS.read_text(encoding="utf-8").splitlines()
    rows = (line.partition("\t") for line in lines)
    return frozenset(name for name, _, counts in rows if str(count) in counts.split())


@dataclass(frozen=True)
class Whole:
    """The complete data set.

    Attributes:
        title: its name
        size: in words
        classes: names of all its classes
        look: key by which class names are compared
    """

    title: str
    size: str
    classes: Collection[str]
    look: Callable[[str], str] = str

    def strangers(self, classes: Collection[str]) -> list[str]:
        """Those of `classes` that the data set does not have."""
        looks = {self.look(name) for name in self.classes}
        return sorted(name for name in classes if self.look(name) not in looks)

    def shortfall(self, videos: int, classes: Collection[str]) -> str:
        """A warning that a tree with `videos` videos of `classes` is incomplete."""
        text = (
            f"Careful: this is not the whole of {self.title}, which has {self.size}; it is "
            f"{videos} videos of {len(classes)} classes."
        )
        if foreign := self.strangers(classes):
            are = "is" if len(foreign) == 1 else "are"
            text += f" Of these, {len(foreign)} {are} not among its classes: {shown(foreign)}."
        return text


def shown(names: Collection[str]) -> str:
    """The first few names, and "..." if there are more."""
    first = sorted(names)[:_SHOWN]
    return ", ".join(first) + (", ..." if len(names) > _SHOWN else "")
